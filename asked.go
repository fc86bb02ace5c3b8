package surecall

import (
	"time"

	"google.golang.org/grpc"
)

// asked is what the caller asked for with one call's options.
type asked struct {
	waits    bool         // grpc.WaitForReady(true)
	policies []CallOption // ForCall's
	trace    *CallTrace
	finish   []func(error) // grpc.OnFinish's, which gRPC would call for each attempt
	notifies bool          // nobody waits for it: it has a deadline in any case
}

// read takes what is surecall's to heed out of opts, and returns what gRPC gets.
func (a *asked) read(opts []grpc.CallOption) []grpc.CallOption {
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.FailFastCallOption:
			a.waits = !o.FailFast
		case callPolicies:
			a.policies = append(a.policies, o.opts...)
		case traceOption:
			a.trace = o.trace
		case notifyOption:
			a.notifies = true
		case grpc.OnFinishCallOption:
			a.finish = append(a.finish, o.OnFinish)
		}
	}
	if a.finish == nil {
		return opts
	}
	rest := make([]grpc.CallOption, 0, len(opts))
	for _, o := range opts {
		if _, ok := o.(grpc.OnFinishCallOption); !ok {
			rest = append(rest, o)
		}
	}
	return rest
}

// end tells of the call's end whoever asked to be told.
func (a *asked) end(err error, began time.Time) {
	if a.trace != nil {
		a.trace.Took, a.trace.Err = time.Since(began), err
	}
	for _, f := range a.finish {
		f(err)
	}
}

// ForCall applies options to one call, on top of what the client and [ForMethod] say:
//
//	stub.Get(ctx, req, surecall.ForCall(surecall.WithCallDeadline(time.Second), surecall.WithoutRetry()))
//
// What is wrong with them ends the call with the code INVALID_ARGUMENT before anything is
// sent. It costs the call about a microsecond.
func ForCall(opts ...CallOption) grpc.CallOption { return callPolicies{opts: opts} }

type callPolicies struct {
	grpc.EmptyCallOption
	opts []CallOption
}
