package surecall

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// What a client remembers of what was out of the ordinary.
const (
	// RecordedCalls is how many calls that failed the flight recorder of a client keeps, and
	// how many that another attempt mended: see [Client.BadCalls].
	RecordedCalls = 64
	// RecordedEvents is how many events about its service, its instances and its source a
	// client keeps for the timeline of its status.
	RecordedEvents = 256
)

// recorder is a client's flight recorder. What may come in storms, the calls, is written
// without a lock.
type recorder struct {
	failed, mended ring

	mu          sync.Mutex
	timeline    []happened // a ring, once it is full
	oldest      int
	transitions map[transition]uint64
}

// happened is an event in words, whose length is bounded: an event may hold on to an error
// of any size.
type happened struct {
	at   time.Time
	what event.Description
}

type transition struct{ of, to string }

// ring keeps the newest explanations. It is safe for concurrent use.
type ring struct {
	next  atomic.Uint64
	slots [RecordedCalls]struct {
		call  atomic.Pointer[Explanation]
		shown atomic.Pointer[shownCall] // nil: nobody has looked yet
	}
}

// shownCall is a call in words. They take some 20 µs, and a status is read often.
type shownCall struct {
	of    *Explanation
	words status.BadCall
}

func (r *ring) add(e *Explanation) { r.slots[(r.next.Add(1)-1)%RecordedCalls].call.Store(e) }

func (r *ring) read() (kept []*Explanation) {
	for i := range r.slots {
		if e := r.slots[i].call.Load(); e != nil {
			kept = append(kept, e)
		}
	}
	return kept
}

// show returns what read does, in words.
func (r *ring) show() (all []status.BadCall) {
	for i := range r.slots {
		slot := &r.slots[i]
		e, shown := slot.call.Load(), slot.shown.Load()
		if e == nil {
			continue
		}
		if shown == nil || shown.of != e {
			shown = &shownCall{of: e, words: e.show()}
			slot.shown.Store(shown)
		}
		b := shown.words
		b.Attempts, b.Advice = slices.Clone(b.Attempts), slices.Clone(b.Advice)
		all = append(all, b)
	}
	return all
}

// calls returns what is kept of bad calls, the newest first.
func (r *recorder) calls() []*Explanation {
	all := append(r.failed.read(), r.mended.read()...)
	slices.SortStableFunc(all, func(a, b *Explanation) int { return b.ended().Compare(a.ended()) })
	return all
}

// badCalls returns the same in words.
func (r *recorder) badCalls() []status.BadCall {
	all := append(r.failed.show(), r.mended.show()...)
	slices.SortStableFunc(all, func(a, b status.BadCall) int { return b.At.Compare(a.At) })
	return all
}

// note enters an event in the timeline, unless it is about one call: those are counted, and
// kept as calls.
func (r *recorder) note(e event.Event) {
	switch e.(type) {
	case event.AttemptRetried, event.AttemptHedged, event.RetryDenied, event.CallRejected, event.CallServedSecondBest, event.NotificationDropped:
		return
	}
	h := happened{time.Now(), event.Describe(e)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := transitionOf(e); ok {
		if r.transitions == nil {
			r.transitions = map[transition]uint64{}
		}
		r.transitions[t]++
	}
	if len(r.timeline) < RecordedEvents {
		r.timeline = append(r.timeline, h)
		return
	}
	r.timeline[r.oldest] = h
	r.oldest = (r.oldest + 1) % RecordedEvents
}

// transitionOf returns what went where, if e says that something did.
func transitionOf(e event.Event) (t transition, ok bool) {
	switch e := e.(type) {
	case event.InstanceChanged:
		return transition{"instance", string(e.To)}, true
	case event.MethodBreakerChanged:
		return transition{"method breaker", e.To}, !e.DryRun
	case event.ServiceBreakerChanged:
		if e.Open {
			return transition{"service breaker", "open"}, !e.DryRun
		}
		return transition{"service breaker", "closed"}, !e.DryRun
	default:
		return t, false
	}
}

// read writes the timeline and the transitions into s.
func (r *recorder) read(s *status.Status) {
	r.mu.Lock()
	all := append(slices.Clone(r.timeline[r.oldest:]), r.timeline[:r.oldest]...)
	for t, n := range r.transitions {
		s.Transitions = append(s.Transitions, status.Transition{Of: t.of, To: t.to, Count: n})
	}
	r.mu.Unlock()
	slices.SortFunc(s.Transitions, func(a, b status.Transition) int {
		return cmp.Or(cmp.Compare(a.Of, b.Of), cmp.Compare(a.To, b.To))
	})
	for _, h := range slices.Backward(all) {
		d := &h.what
		s.Events = append(s.Events, status.Event{At: h.at, Level: d.Level.String(), Kind: d.Kind, Text: d.Text, Instance: d.Instance})
	}
}
