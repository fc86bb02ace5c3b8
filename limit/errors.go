package limit

import (
	"errors"
	"fmt"
	"time"
)

// ErrExceeded is matched, through errors.Is, by every error of this package that says no
// to a call. A context's own error, when it ended a wait, is returned as it is and does
// not match.
var ErrExceeded = errors.New("limit: exceeded")

// The reasons for a no.
var (
	// ErrLimit: as many are in flight as may be, and there is no queue.
	ErrLimit = reason("limit: concurrency limit reached")

	// ErrQueueFull: as many wait as may, none of them less important.
	ErrQueueFull = reason("limit: queue full")

	// ErrShed: what is left is kept for more important calls; or the call waited and
	// was pushed out, or waited longer than the queue lets anyone.
	ErrShed = reason("limit: shed")

	// ErrNoTime: the deadline cannot be met after the wait.
	ErrNoTime = reason("limit: deadline cannot be met")

	// ErrRate: the rate is used up. It comes as a *[RateError].
	ErrRate = reason("limit: rate exceeded")

	// ErrThrottled is for the owner of a [Throttler] that said no.
	ErrThrottled = reason("limit: throttled")
)

// RateError is the no of a [RateLimiter]. It matches [ErrRate], or [ErrShed] or
// [ErrNoTime] as well when that is why.
type RateError struct {
	// RetryAfter is when a call of the same priority would be let through if no other
	// came first.
	RetryAfter time.Duration

	why error
}

// Error returns why, and when to come again.
func (e *RateError) Error() string {
	return fmt.Sprintf("%v: next in %v", e.why, e.RetryAfter.Round(time.Microsecond))
}

// Is reports whether target is ErrRate.
func (e *RateError) Is(target error) bool { return target == ErrRate }

// Unwrap returns why.
func (e *RateError) Unwrap() error { return e.why }

func reason(text string) error { return &refusal{text} }

// refusal is a reason whose text needs no prefix of ErrExceeded's.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func (r *refusal) Is(target error) bool { return target == ErrExceeded }
