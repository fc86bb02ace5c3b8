package surecall

import (
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// CallTrace is what happened to one call: see [Trace].
type CallTrace struct {
	Method string // the full method
	Began  time.Time
	Took   time.Duration // until the call ended, with all that it waited for
	// Waited is how long the call waited before its first attempt: for a rate limit, or with
	// grpc.WaitForReady(true) for the end of an outage of the service, or for another call
	// that had asked for the same answer.
	Waited   time.Duration
	Attempts []AttemptTrace // in the order in which they began
	// SecondBest is who answered in place of an instance; empty: an instance did.
	SecondBest event.SecondBest
	Age        time.Duration // of an answer from a cache, the alternate's own included
	// Denied is why an attempt that failed was not followed by another; empty: one was, or
	// none could have done better.
	Denied event.Denial
	Err    error // what the caller got; nil: a reply
}

// AttemptTrace is one attempt of a call.
type AttemptTrace struct {
	Number   int    // from 1
	Instance string // ID; empty: none was picked
	Address  string
	Hedge    bool            // sent beside an attempt that took long
	Began    time.Duration   // since the call began
	Queued   time.Duration   // from then, how long it waited for a slot, in a queue of ours
	Took     time.Duration   // from the pick to the end; what is between is gRPC's wait for a connection
	Executed bool            // the instance may have executed it
	Verdict  breaker.Verdict // on the instance, as its breaker heard it; ignored, if none was picked
	Err      error           // nil: it brought the reply
	CutOff   bool            // before it had an answer: another attempt answered, or its time was over

	observed bool // its observer was told that it began,
	told     bool // and, or who would be, that it has ended
}

// Trace has t filled in when the call ends: the attempts, where they went, how long they
// waited, what they brought. A stream's call ends when its last message has been
// received. t must not be read before, and belongs to one call.
func Trace(t *CallTrace) grpc.CallOption { return traceOption{trace: t} }

// begin empties the trace; nil: nobody asked.
func (t *CallTrace) begin(method string, now time.Time) {
	if t != nil {
		*t = CallTrace{Method: method, Began: now}
	}
}

// traced enters an attempt that is over and judged.
func (t *tries) traced(at *balancer.Attempt, note *AttemptTrace, err error) {
	if at.Instance() != nil {
		t.placed++
	}
	if note == nil {
		return
	}
	t.tellEnd(at, note, err)
	t.telling.Lock()
	defer t.telling.Unlock()
	how := t.story()
	how.Call.Attempts = append(how.Call.Attempts, *note)
}

// tellEnd completes the note of an attempt that is over and judged, and tells the observer,
// once. Of two that go on together each tells of its own end, which traced enters later.
func (t *tries) tellEnd(at *balancer.Attempt, note *AttemptTrace, err error) {
	if note == nil || note.told {
		return
	}
	if i := at.Instance(); i != nil {
		note.Instance, note.Address = i.ID(), i.Address()
	}
	note.Executed, note.Err, note.told = at.Executed(), err, true
	if !note.observed {
		return
	}
	t.telling.Lock()
	observer := t.how.observer
	t.telling.Unlock()
	if observer != nil { // else the call's end was told
		observer.AttemptEnds(at.Context, note)
	}
}

// noted returns the note of an attempt that nobody asked for, and that is worth one: the
// call's first, or a hedge, which is picked as soon as it begins.
func (t *tries) noted(at *balancer.Attempt, number int) *AttemptTrace {
	note := &AttemptTrace{Number: number, Began: t.gate.passed}
	if picked := at.Picked(); picked != 0 && number > 1 {
		note.Began = max(0, time.Duration(picked-t.core.fleet.At(t.began)))
	}
	return note
}

// observed tells the observer, if there is one, that an attempt begins.
func (t *tries) observed(at *balancer.Attempt, note *AttemptTrace) {
	if t.how != nil && t.how.observer != nil {
		note.observed = true
		at.Context = t.how.observer.Attempt(at.Context, note.Number, note.Hedge)
	}
}

type traceOption struct {
	grpc.EmptyCallOption
	trace *CallTrace
}
