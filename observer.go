package surecall

import "context"

// Observer is told of every call and of every attempt, where events tell only of what is
// out of the ordinary: for spans and histograms. Module surecall/otel has one. Its methods
// run on the path of the call, must return fast and be safe for concurrent use.
type Observer interface {
	// Call is told that a call begins, before anything can refuse it. It returns the context
	// that the call goes on with, and what is told of it further; nil: nothing.
	Call(ctx context.Context, service, method string) (context.Context, CallObserver)
}

// CallObserver is told of one call. A hedge's methods run beside those of the attempt that
// takes long.
type CallObserver interface {
	// Attempt is told that an attempt begins. It returns the attempt's context: metadata in
	// it goes to the instance.
	Attempt(ctx context.Context, number int, hedge bool) context.Context
	// AttemptEnds is told how, with the context that Attempt returned. a is not changed
	// afterwards.
	AttemptEnds(ctx context.Context, a *AttemptTrace)
	// CallEnds is told last, once. A stream's call ends when its last message was received,
	// or when its caller gave it up. t is not changed afterwards.
	CallEnds(t *CallTrace)
}

// WithObserver has o told of every call and attempt. Of several the last wins; nil ends it.
// It costs a call what [Trace] costs, and what o costs.
func WithObserver(o Observer) LiveOption { return live(func(s *settings) { s.observer = o }) }

// Observer returns what [WithObserver] said last; nil: nothing.
func (c *Client) Observer() Observer { return c.core.state.Load().settings.observer }
