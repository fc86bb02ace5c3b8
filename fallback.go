package surecall

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// WithFallback has f answer when all else failed. f gets the request, which it must not
// change, and the cause: what the call's error would be. Its reply is copied into the
// caller's; its error, if it returns one, is the call's. With neither, the cause is. It is
// called on the caller's goroutine and context, which may have ended: see
// [WithFallbackReserve]; and for the failures of [WithFallbackWhen]. Unary calls only, and
// none that is pinned.
//
// Request and reply are the pointer types of the method's generated messages:
//
//	surecall.ForMethod("/orders.v1.Orders/Get", surecall.WithFallback(
//		func(ctx context.Context, req *orders.GetRequest, cause error) (*orders.Order, error) {
//			return &orders.Order{Id: req.GetId(), Item: "unknown"}, nil
//		}))
//
// That they fit is checked when the client is made, for a method that [ForMethod] names in
// full and whose descriptor is linked; any other call that they do not fit ends with its
// own error, and the first of each method is told of as event.ConfigWarning.
func WithFallback[Request, Reply proto.Message](f func(ctx context.Context, req Request, cause error) (Reply, error)) CallOption {
	b := &fallback{request: reflect.TypeFor[Request](), reply: reflect.TypeFor[Reply]()}
	b.fits = func(req, reply any) bool {
		_, request := req.(Request)
		_, into := reply.(Reply)
		return request && into
	}
	b.call = func(ctx context.Context, req, reply any, cause error) error {
		answer, err := f(ctx, req.(Request), cause)
		if err != nil {
			return err
		}
		if reflect.ValueOf(answer).IsNil() {
			return cause
		}
		replace(reply.(Reply), answer)
		return nil
	}
	return perCall("fallback", func(m *methodSettings) {
		m.second.fallback = b
		if f == nil {
			m.fail(errors.New("surecall: WithFallback: nil: want a function"))
		}
		if b.request.Kind() != reflect.Pointer || b.reply.Kind() != reflect.Pointer {
			m.fail(fmt.Errorf("surecall: WithFallback of %v and %v: want pointers to generated messages", b.request, b.reply))
		}
	})
}

// WithoutFallback has no function called.
func WithoutFallback() CallOption {
	return perCall("fallback", func(m *methodSettings) { m.second.fallback = nil })
}

// WithFallbackWhen says which failures of a call the second best is for: the alternate,
// an old answer, the fallback. By default it is all but those that are a server's answer about the
// request itself: INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
// FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED and UNAUTHENTICATED. A call that its
// caller has cancelled gets none in any case.
func WithFallbackWhen(when func(error) bool) CallOption {
	return perCall("fallback when", func(m *methodSettings) {
		m.second.when = when
		if when == nil {
			m.fail(errors.New("surecall: WithFallbackWhen: nil: want a function"))
		}
	})
}

// WithFallbackReserve ends a call whose caller set a deadline earlier by d, so that the
// alternate and the fallback have that long; but takes no more than half of the time that
// there is. Default 0: a call may use all of its time, and a fallback is then called on a
// context that has ended. Where the caller set no deadline, none is needed. It costs a
// context and a timer.
func WithFallbackReserve(d time.Duration) CallOption {
	return perCall("fallback reserve", func(m *methodSettings) {
		m.second.reserve = d
		if d < 0 {
			m.fail(fmt.Errorf("surecall: WithFallbackReserve %v: want 0 (none) or more", d))
		}
	})
}

// fallback is a function of WithFallback without its types.
type fallback struct {
	request, reply reflect.Type
	fits           func(req, reply any) bool
	call           func(ctx context.Context, req, reply any, cause error) error
}

// unanswered is the default of WithFallbackWhen.
func unanswered(err error) bool { return !isAnswer(status.Code(err)) }

// isAnswer reports whether an error of that code is a server's answer about the request:
// no other server would answer better.
func isAnswer(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// check reports what of s cannot be for the one method that pattern names. What a
// descriptor would say that is not linked is not known.
func (s *secondSettings) check(pattern string) error {
	if !s.any() {
		return nil
	}
	d := linkedMethod(pattern)
	if d == nil {
		return nil
	}
	if d.IsStreamingClient() || d.IsStreamingServer() {
		return errors.New("WithCache, WithAlternate and WithFallback are for unary calls: the method streams")
	}
	var errs []error
	if s.cache != nil && levelOf(d) == descriptorpb.MethodOptions_IDEMPOTENT {
		errs = append(errs, errors.New("WithCache: the method's idempotency_level is IDEMPOTENT, so it has effects: want NO_SIDE_EFFECTS, or none"))
	}
	if f := s.fallback; f != nil {
		request, reply := goType(d.Input()), goType(d.Output())
		if request != nil && request != f.request || reply != nil && reply != f.reply {
			errs = append(errs, fmt.Errorf("WithFallback takes %v and returns %v: want %v and %v", f.request, f.reply, request, reply))
		}
	}
	return errors.Join(errs...)
}

// goType returns the type that the program links for d; nil: none.
func goType(d protoreflect.MessageDescriptor) reflect.Type {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil
	}
	return reflect.TypeOf(t.Zero().Interface())
}

// linkedMethod returns the descriptor of a method, "/orders.v1.Orders/Get", if the
// program links it.
func linkedMethod(name string) protoreflect.MethodDescriptor {
	service, method, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return nil
	}
	d, _ := found.(protoreflect.MethodDescriptor)
	return d
}

func levelOf(d protoreflect.MethodDescriptor) descriptorpb.MethodOptions_IdempotencyLevel {
	o, _ := d.Options().(*descriptorpb.MethodOptions)
	return o.GetIdempotencyLevel()
}
