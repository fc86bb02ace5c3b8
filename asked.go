package surecall

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
)

// asked is what the caller asked for with one call's options.
type asked struct {
	waits    bool          // grpc.WaitForReady(true)
	policies []CallOption  // ForCall's
	trace    *CallTrace    // nil: nobody asked
	observer CallObserver  // nil: none
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

// observedBy has o observe the call, and returns the context that it goes on with.
func (a *asked) observedBy(ctx context.Context, o Observer, service, method string, now time.Time) context.Context {
	ctx, a.observer = o.Call(ctx, service, method)
	if a.observer != nil && a.trace == nil {
		a.trace = &CallTrace{}
		a.trace.begin(method, now)
	}
	return ctx
}

// story is what is to be told of the call in any case; nil: nothing.
func (a *asked) story() *Explanation {
	if a.trace == nil {
		return nil
	}
	return &Explanation{observer: a.observer}
}

// end tells of the call's end whoever asked to be told.
func (a *asked) end(err error, began time.Time) {
	if a.trace != nil {
		a.trace.Took, a.trace.Err = time.Since(began), err
	}
	if a.observer != nil {
		t := *a.trace // which is the caller's, if that has asked for it
		t.Attempts = slices.Clone(t.Attempts)
		a.observer.CallEnds(&t)
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
