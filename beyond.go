package surecall

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What calls beyond one to one share: Broadcast, Notify, Go.

// UnaryMethod is a unary method of a generated stub, as Go writes it:
// orders.NewOrdersClient(client).Get.
type UnaryMethod[Req, Reply any] func(ctx context.Context, req Req, opts ...grpc.CallOption) (Reply, error)

// fillsNothing reports a call option that fills in a variable of the caller's, for calls
// that go on without the caller or beside each other. A function of grpc.OnFinish is the
// caller's to make fit for that.
func fillsNothing(what string, opts []grpc.CallOption) error {
	for _, o := range opts {
		switch o.(type) {
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, traceOption:
			return fmt.Errorf("surecall: %s: call option %T: want none that fills in a variable", what, o)
		}
	}
	return nil
}

// with returns opts and more, in memory of its own: opts are the caller's.
func with(opts []grpc.CallOption, more ...grpc.CallOption) []grpc.CallOption {
	return append(opts[:len(opts):len(opts)], more...)
}

// errNoReturn is the error of a call that never came back.
var errNoReturn = errors.New("surecall: the method did not return: it panicked, or runtime.Goexit ended it")

// codedError is an error of surecall's own that has a code for status.Code.
type codedError struct {
	error
	code codes.Code
}

func (e codedError) Unwrap() error { return e.error }

// GRPCStatus makes status.FromError see the code.
func (e codedError) GRPCStatus() *status.Status { return status.New(e.code, e.Error()) }

// ended is the error of one who waited until ctx ended.
func ended(ctx context.Context, what string) error {
	return codedError{fmt.Errorf("surecall: %s: %w", what, context.Cause(ctx)), status.FromContextError(ctx.Err()).Code()}
}
