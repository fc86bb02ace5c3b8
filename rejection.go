package surecall

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/event"
)

// The sentinels that a [Rejection] matches with errors.Is.
var (
	// ErrNoInstance: no instance is known, or none has a connection.
	ErrNoInstance = errors.New("surecall: no instance")
	// ErrServiceDown: the service breaker is open.
	ErrServiceDown = errors.New("surecall: service down")
	// ErrMethodDown: the method breaker is open.
	ErrMethodDown = errors.New("surecall: method down")
	// ErrConcurrency: as many attempts are under way as a limit lets be, of the client, of
	// a pattern of methods, or of every instance that could be picked.
	ErrConcurrency = errors.New("surecall: concurrency limit")
	// ErrRateLimited: as many calls have begun lately as a rate limit lets begin.
	ErrRateLimited = errors.New("surecall: rate limit")
	// ErrThrottled: the service refuses or fails so many calls that some are held back.
	ErrThrottled = errors.New("surecall: throttled")
)

// Rejection is the error of a call that surecall refused before anything was sent. Its
// gRPC status is UNAVAILABLE; under a limit it is RESOURCE_EXHAUSTED. Use errors.As to get
// at it, and errors.Is with one of the sentinels to learn the reason.
type Rejection struct {
	Reason  error // one of the sentinels
	Cause   error // what a limit says, an error of package limit; nil: none
	Service string
	Method  string // the full method
	// RetryAfter is when it makes sense to try again; 0: not known.
	RetryAfter time.Duration
	// Known is how many instances the client knows, and States how many of them are in
	// which state. Do not change the map.
	Known  int
	States map[event.State]int
	// Full is how many of them are at their limit of concurrency, if that is the reason.
	Full int
	// Pinned is the ID of the only instance that the call could go to; empty: any could.
	Pinned string
	// LastErr is the error of the connection that failed last, or what the source said,
	// and Age how long ago that was. nil: none.
	LastErr error
	Age     time.Duration
}

// order of states in the message: what an operator looks for first.
var messageOrder = []event.State{
	event.Eligible, event.Absent, event.Overruled, event.Suspect, event.Ejected, event.NotServing, event.Draining,
	event.Failed, event.Connecting, event.Standby,
}

// Error says in one line what an operator can act on.
func (r *Rejection) Error() string {
	var b strings.Builder
	switch r.Reason {
	case ErrServiceDown:
		fmt.Fprintf(&b, "surecall: service %q is down: no instance answers", r.Service)
	case ErrMethodDown:
		fmt.Fprintf(&b, "surecall: method %s of %q is down: too many calls of it fail", r.Method, r.Service)
	case ErrNoInstance:
		if r.Pinned == "" {
			fmt.Fprintf(&b, "surecall: no eligible instance of %q", r.Service)
		} else {
			fmt.Fprintf(&b, "surecall: instance %q of %q, to which the call is pinned, has no connection", r.Pinned, r.Service)
		}
	default:
		fmt.Fprintf(&b, "%v of %q, %s", r.Reason, r.Service, r.Method)
	}
	if r.Cause != nil {
		fmt.Fprintf(&b, ": %v", r.Cause)
		if r.States == nil {
			return b.String() // a limit of the client's own: the instances have no part in it
		}
	}
	fmt.Fprintf(&b, ": %d known", r.Known)
	for _, s := range messageOrder {
		if n := r.States[s]; n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, s)
		}
	}
	if r.Full > 0 {
		fmt.Fprintf(&b, "; %d at their limit", r.Full)
	}
	if r.LastErr != nil {
		fmt.Fprintf(&b, "; last error %.1fs ago: %v", r.Age.Seconds(), r.LastErr)
	}
	return b.String()
}

// GRPCStatus makes status.FromError see the code.
func (r *Rejection) GRPCStatus() *status.Status { return status.New(r.code(), r.Error()) }

func (r *Rejection) code() codes.Code {
	switch r.Reason {
	case ErrConcurrency, ErrRateLimited, ErrThrottled:
		return codes.ResourceExhausted
	default:
		return codes.Unavailable
	}
}

// Is matches the reason.
func (r *Rejection) Is(target error) bool { return target == r.Reason }

// Unwrap returns the cause, so that the errors of package limit match too.
func (r *Rejection) Unwrap() error { return r.Cause }

// newRejection makes a rejection from what the fleet says of itself.
func newRejection(reason error, service, method string, f balancer.Refusal) *Rejection {
	r := &Rejection{
		Reason: reason, Service: service, Method: method,
		Known: f.Known, States: f.States, Full: f.Full, Pinned: f.Pinned, LastErr: f.LastErr,
	}
	if f.LastErr != nil {
		r.Age = max(0, time.Since(f.ErrAt))
	}
	return r
}

func isRejection(err error) bool {
	if err == nil {
		return false // r below would go to the heap
	}
	var r *Rejection
	return errors.As(err, &r)
}
