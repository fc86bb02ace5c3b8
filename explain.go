package surecall

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/event"
)

// Explanation says how a call came to its end: see [Explain] and [Client.BadCalls].
type Explanation struct {
	Service string
	Call    CallTrace // Method, attempts, waits, verdicts, error
	// Idempotent is whether the method may be executed twice.
	Idempotent bool
	// Deadline is how long after the call began it was over; 0: it had none. OwnDeadline is
	// whether surecall set it, and not the caller.
	Deadline    time.Duration
	OwnDeadline bool

	observer CallObserver // of the attempts, for as long as they are not over; nil: none
	local    bool         // gRPC's own error ended it: see isLocal
}

// Explain says how the call came to its end that returned err: what its attempts met, how
// long it waited, what would have helped. Nothing has to be set for it, and a trace asked
// for or not makes no difference. It returns nil for an error that did not come out of a
// call of surecall's, or came out of one in shadow mode: see [WithShadow]. What a client's
// own code makes of an error is looked through, as errors.As does. Of a call that waited for
// another one with the same request, the attempts are those of the other. It must not be
// changed: whoever has the error reads it, too.
func Explain(err error) *Explanation {
	if err == nil {
		return nil // c below would go to the heap
	}
	var c *callError
	if !errors.As(err, &c) {
		return nil
	}
	return c.how
}

// BadCalls returns the calls that failed lately, other than by an answer of their server
// about the request (NOT_FOUND, for example) or by being cancelled, and those that
// succeeded only after an attempt had failed, or by second best: [RecordedCalls] of either,
// the newest first. What is kept of an error is its code and 500 bytes of its message, and
// of more than 16 attempts the last. They must not be changed. It costs a call that succeeds
// at its first attempt nothing.
func (c *Client) BadCalls() []*Explanation { return c.core.recorder.calls() }

// callError is what a failed call returns: the error as it is, and how it came about.
type callError struct {
	error
	how *Explanation
}

func (e *callError) Unwrap() error { return e.error }

// GRPCStatus makes status.FromError see what it would see without us: nil stands for an
// error that has no status.
func (e *callError) GRPCStatus() *status.Status {
	s, ok := status.FromError(e.error)
	if !ok {
		return nil
	}
	return s
}

// rephrased is err, explained as the error is that it stands for.
func rephrased(old, err error) error {
	if how := Explain(old); how != nil {
		return &callError{err, how}
	}
	return err
}

// unexplained is the error that a call failed with.
func unexplained(err error) error {
	if c, ok := err.(*callError); ok {
		return c.error
	}
	return err
}

// story is what is to be told of the call. Most calls, which go as usual, have none. The
// caller holds telling.
func (t *tries) story() *Explanation {
	if t.how == nil {
		t.how = &Explanation{}
	}
	return t.how
}

// over is called once, when the attempts of the call are, for whoever has asked for a trace.
// It returns err with its explanation. That of a call that succeeded is kept if it is worth it.
func (t *tries) over(err error, asked *CallTrace) error {
	t.method.count.made(int(t.placed))
	t.telling.Lock()
	defer t.telling.Unlock()
	if err == nil && t.how == nil {
		return nil
	}
	how := t.story()
	how.observer, how.local = nil, t.local
	how.Service, how.Idempotent, how.OwnDeadline = t.core.service, t.method.idempotent, t.deadlineOurs
	if t.hasDeadline {
		how.Deadline = t.deadline.Sub(t.began)
	}
	how.Call.Method, how.Call.Began, how.Call.Took, how.Call.Err = t.method.name, t.began, time.Since(t.began), err
	how.Call.Waited = t.waited()
	if asked != nil {
		asked.Attempts, asked.Waited, asked.Denied = slices.Clone(how.Call.Attempts), how.Call.Waited, how.Call.Denied
	}
	if err == nil {
		if how.mended() {
			t.core.recorder.mended.add(how.bounded())
		}
		return nil
	}
	return &callError{err, how}
}

// keep has the flight recorder keep a call that failed.
func (c *core) keep(how *Explanation) {
	if isBad(how.Call.Err) {
		c.recorder.failed.add(how.bounded())
	}
}

// isBad reports whether a call went badly that ended with err: not, if that is an answer of
// the server, or if it was cancelled.
func isBad(err error) bool {
	code := codeOf(err)
	return code != codes.Canceled && !isAnswer(code)
}

// waited is how long the call waited before its first attempt.
func (t *tries) waited() time.Duration {
	if t.attempts == 0 {
		return time.Since(t.began)
	}
	return t.gate.passed
}

// mended reports whether an attempt failed, and not only because another was faster.
func (e *Explanation) mended() bool {
	for _, a := range e.Call.Attempts {
		if a.Err != nil && codeOf(a.Err) != codes.Canceled {
			return true
		}
	}
	return false
}

// codeOf is status.Code, without the text that a rejection would make for it.
func codeOf(err error) codes.Code {
	var r *Rejection
	if errors.As(err, &r) {
		return r.code()
	}
	return status.Code(err)
}

// What the flight recorder keeps at most: bytes of an error, and attempts of a call. Those
// that end with a hang do not count towards retry.Policy.MaxAttempts.
const (
	maxRecorded         = 500
	maxRecordedAttempts = 16
)

// bounded returns e as it is kept, which holds on to nothing large: a server decides how
// long its errors are, and what a fallback returns may hold anything.
func (e *Explanation) bounded() *Explanation {
	b := *e
	b.observer = nil
	b.Call.Err = bounded(e.Call.Err)
	b.Call.Attempts = slices.Clone(e.Call.Attempts[max(0, len(e.Call.Attempts)-maxRecordedAttempts):])
	for i := range b.Call.Attempts {
		b.Call.Attempts[i].Err = bounded(b.Call.Attempts[i].Err)
	}
	return &b
}

func bounded(err error) error {
	if err == nil {
		return nil
	}
	if r, ok := err.(*Rejection); ok {
		if r.LastErr == nil || len(r.LastErr.Error()) <= maxRecorded {
			return r
		}
		b := *r
		b.LastErr = errors.New(event.Mask(r.LastErr.Error()))
		return &b
	}
	s := status.Convert(err)
	if proto.Size(s.Proto()) > maxRecorded {
		return status.Error(s.Code(), event.Mask(s.Message()))
	}
	return s.Err()
}

func (e *Explanation) ended() time.Time { return e.Call.Began.Add(e.Call.Took) }

// String tells the story, a line for each step:
//
//	orders: /orders.v1.Orders/Place failed after 12ms: rpc error: code = Unavailable desc = …
//	  attempt 1 on "orders-3" (10.0.0.3:50051), begun after 0s, 12ms: failure: rpc error: …
//	  no further attempt: not idempotent
//	  would have helped: if it may be executed twice, …
func (e *Explanation) String() string {
	var b strings.Builder
	how := "succeeded"
	if e.Call.Err != nil {
		how = "failed"
	}
	fmt.Fprintf(&b, "%s: %s %s after %v", e.Service, e.Call.Method, how, e.Call.Took)
	if e.Call.Waited >= noticed {
		fmt.Fprintf(&b, ", of which it waited %v before its first attempt", e.Call.Waited)
	}
	if e.Call.Err != nil {
		b.WriteString(": " + event.Mask(e.Call.Err.Error()))
	}
	for _, a := range e.Call.Attempts {
		b.WriteString("\n  " + a.line())
	}
	if e.Call.Denied != "" {
		b.WriteString("\n  no further attempt: " + string(e.Call.Denied))
	}
	for _, a := range e.Advice() {
		b.WriteString("\n  would have helped: " + a)
	}
	return b.String()
}

func (a *AttemptTrace) line() string {
	var b strings.Builder
	what := "attempt"
	if a.Hedge {
		what = "hedge"
	}
	fmt.Fprintf(&b, "%s %d", what, a.Number)
	if a.Instance == "" {
		b.WriteString(" on no instance")
	} else {
		fmt.Fprintf(&b, " on %q (%s)", a.Instance, a.Address)
	}
	fmt.Fprintf(&b, ", begun after %v", a.Began)
	if a.Queued > 0 {
		fmt.Fprintf(&b, ", queued for %v", a.Queued)
	}
	fmt.Fprintf(&b, ", took %v", a.Took)
	switch {
	case a.Err == nil:
		b.WriteString(": success")
	default:
		fmt.Fprintf(&b, ": %v: %s", a.Verdict, event.Mask(a.Err.Error()))
	}
	if a.CutOff {
		b.WriteString(" (cut off)")
	}
	return b.String()
}
