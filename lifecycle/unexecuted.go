package lifecycle

import "google.golang.org/grpc/status"

// NotExecuted returns err, a handler's, with the promise that the call has had no effect:
//
//	return nil, lifecycle.NotExecuted(status.Error(codes.Unavailable, "the database is away"))
//
// Two parties act on it. Of a call that [Life.Once] guards nothing is kept: a repeat is
// executed. And a caller that is a client of surecall is told: if the code is UNAVAILABLE
// or RESOURCE_EXHAUSTED and nothing was sent before, it makes the call elsewhere, whatever
// its method. An interceptor that returns another error in place of it takes it back.
// For nil it returns nil; on streams it is err and no more.
func NotExecuted(err error) error {
	if err == nil {
		return nil
	}
	return &notExecuted{err}
}

type notExecuted struct{ error }

// GRPCStatus is what gRPC sends.
func (e *notExecuted) GRPCStatus() *status.Status { return errorStatus(e.error) }

func (e *notExecuted) Unwrap() error { return e.error }

// isNotExecuted looks at err alone, and not at what it wraps: an interceptor that joins
// this error to another one says something else.
func isNotExecuted(err error) bool {
	_, ok := err.(*notExecuted)
	return ok
}
