package surecall

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/wire"
)

// WithAlternate makes a call again on conn, typically a [Client] of another service name or
// datacenter, when all instances failed it: if none can have executed it, or the
// method is idempotent. What conn answers is the call's answer, also an error that answers
// the request; another failure of conn's leaves the call its own error.
//
// It is not asked after RESOURCE_EXHAUSTED, a limit of the caller's own included: load that
// was refused in one place must not be moved to another. Nor for calls that are made as
// another client's alternate, nor once the caller's deadline is over: see
// [WithFallbackReserve]. If the caller set none, conn has the time of [WithCallDeadline]
// anew. Which failures it is for says [WithFallbackWhen]. conn is not closed with the
// client. Unary calls only, and none that is pinned.
func WithAlternate(conn grpc.ClientConnInterface) CallOption {
	return perCall("alternate", func(m *methodSettings) {
		m.second.alternate = conn
		if c, ours := conn.(*Client); conn == nil || ours && c == nil {
			m.fail(errors.New("surecall: WithAlternate: nil: want a client"))
		}
	})
}

// WithoutAlternate has no other service asked.
func WithoutAlternate() CallOption {
	return perCall("alternate", func(m *methodSettings) { m.second.alternate = nil })
}

// alternateKey is in the context of a call made as an alternate: two clients may be each
// other's.
type alternateKey struct{}

// byAlternate asks the alternate, if it may be asked. It reports whether that answered,
// and what.
func (s *secondCall) byAlternate(ctx context.Context, cause error) (answered bool, err error) {
	if s.alternate == nil || !s.mayMove(ctx, cause) {
		return false, nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	ctx = context.WithValue(ctx, alternateKey{}, true)
	if s.executed {
		ctx = metadata.AppendToOutgoingContext(ctx, wire.Attempt, "2") // at least: it repeats what may have been executed
	}
	err = s.alternate.Invoke(ctx, s.method.name, s.rpc.req, s.rpc.reply, others(s.rpc.opts)...)
	if err != nil && s.when(err) {
		return false, nil
	}
	s.served(event.Alternate, 0, cause)
	return true, err
}

// mayMove reports whether the call may be made elsewhere after it failed with cause.
func (s *secondCall) mayMove(ctx context.Context, cause error) bool {
	if ctx.Err() != nil || ctx.Value(alternateKey{}) != nil || status.Code(cause) == codes.ResourceExhausted {
		return false
	}
	return !s.executed || s.method.idempotent && !chainStopped(ctx)
}

// others returns opts without those of ours: they are about this client.
func others(opts []grpc.CallOption) []grpc.CallOption {
	var rest []grpc.CallOption
	for _, o := range opts {
		switch o.(type) {
		case traceOption, callPolicies:
		default:
			rest = append(rest, o)
		}
	}
	return rest
}
