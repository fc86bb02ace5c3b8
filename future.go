package surecall

import (
	"context"

	"google.golang.org/grpc"
)

// Future is the reply of a call that [Go] began. It is safe for concurrent use: any number
// of goroutines may wait for it.
type Future[Reply any] struct {
	done  chan struct{}
	reply Reply
	err   error
	trace CallTrace
}

// Go calls method, of a stub, beside the caller: it returns at once, and the future brings
// the reply, and the call's trace. The request must not be changed until then, nor must
// what call options fill in be read.
//
// It is a call like any other: limits and deadlines apply, and the end of ctx ends it.
// Each future is one goroutine that ends with its call, waited for or not. A panic in the
// stub or an interceptor is not recovered: it ends the program, as in any goroutine.
func Go[Req, Reply any](ctx context.Context, method UnaryMethod[Req, Reply], req Req, opts ...grpc.CallOption) *Future[Reply] {
	f := &Future[Reply]{done: make(chan struct{}), err: errNoReturn}
	var asked asked
	asked.read(opts)
	opts = with(opts, Trace(&f.trace))
	go func() {
		defer close(f.done) // also if runtime.Goexit ends the method, as a test's FailNow does
		f.reply, f.err = method(ctx, req, opts...)
		if asked.trace != nil {
			*asked.trace = f.trace
		}
	}()
	return f
}

// Done is closed when the call is over.
func (f *Future[Reply]) Done() <-chan struct{} { return f.done }

// Wait returns what the method returned, once it has. All callers get the same reply, and
// must not change it. If ctx ends first, the error says so, and the call goes on.
func (f *Future[Reply]) Wait(ctx context.Context) (Reply, error) {
	select {
	case <-f.done:
		return f.reply, f.err
	default:
	}
	select {
	case <-f.done:
		return f.reply, f.err
	case <-ctx.Done():
		var none Reply
		return none, ended(ctx, "Wait: the call goes on")
	}
}

// Trace returns what happened to the call once it is over, and before that an empty trace.
func (f *Future[Reply]) Trace() CallTrace {
	select {
	case <-f.done:
		return f.trace
	default:
		return CallTrace{}
	}
}
