package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Hooks connect an instance breaker to its owner. Every field may be nil.
type Hooks struct {
	// MayEject is asked when the breaker would open; false overrules it. It is called
	// with the breaker's lock held and must not call back into this breaker.
	MayEject func() bool

	// Changed is told each change, in order, one at a time and with no lock held. It
	// runs on the goroutine that made the change, or on one that is still delivering
	// an earlier change.
	Changed func(Change)

	// Rand returns a number in [0, 1) for the jitter; nil means math/rand/v2.
	Rand func() float64
}

// Instance is the breaker of one instance. It is safe for concurrent use.
type Instance struct {
	policy Policy
	hooks  Hooks
	origin time.Time // instants are nanoseconds since it, on the monotonic clock

	word  atomic.Uint64
	dueAt atomic.Int64 // open: when a trial is due; half-open: when the running one is lost

	mu         sync.Mutex // guards what follows, and every write of word and dueAt
	inner      *gobreaker.CircuitBreaker[struct{}]
	tripping   string // why inner opened; set by readyToTrip
	run        int    // failures since the last success
	doublings  int    // of the next ejection
	ejections  int
	closedAt   time.Time
	since      time.Time
	until      time.Time
	changes    outbox[Change]
	tellChange func(Change) // hooks.Changed, never nil
}

// NewInstance returns a closed breaker. p must be valid: see [Policy.Validate].
func NewInstance(p Policy, h Hooks) *Instance {
	now := time.Now()
	b := &Instance{
		policy:     p.WithDefaults(),
		hooks:      h,
		origin:     now,
		closedAt:   now,
		tellChange: h.Changed,
	}
	if b.hooks.Rand == nil {
		b.hooks.Rand = rand.Float64
	}
	if b.tellChange == nil {
		b.tellChange = func(Change) {}
	}
	b.inner = b.newInner()
	return b
}

// Word returns the breaker's state and epoch, with one atomic load. An attempt keeps
// the word it was picked with and hands it to [Instance.Record].
func (b *Instance) Word() uint64 { return b.word.Load() }

// State returns the breaker's state.
func (b *Instance) State() State { return stateOf(b.word.Load()) }

// Overruled reports whether the breaker is closed only because MayEject said no.
func (b *Instance) Overruled() bool { return b.word.Load()&overruledBit != 0 }

// Record counts the verdict of an attempt that was no trial and was picked with word.
// It is dropped unless the breaker was closed then and has stayed closed since.
//
// gobreaker is asked and told in one step here, not at the pick and at the end: what
// lies between would cost a closure per attempt, and the epoch does its work.
func (b *Instance) Record(word uint64, v Verdict) {
	if v == Ignored || !b.current(word) {
		return
	}
	b.mu.Lock()
	if !b.current(word) {
		b.mu.Unlock()
		return
	}
	overruled := b.word.Load()&overruledBit != 0
	if v == Success {
		b.run = 0
		_, _ = b.inner.Execute(succeed)
		if !overruled {
			b.mu.Unlock() // the way of nearly every attempt: nothing to tell
			return
		}
		b.rejudge()
	} else {
		if v == Failure {
			b.run++
		}
		_, _ = b.inner.Execute(fail)
		if b.tripping != "" {
			b.eject(time.Now(), b.tripping)
			b.tripping = ""
		}
	}
	b.mu.Unlock()
	b.deliver()
}

// Due reports whether a trial may be taken: the ejection is over and no trial runs, or
// the one that ran is lost. It is a few atomic loads.
func (b *Instance) Due(now time.Time) bool {
	return !Closed(b.word.Load()) && b.instant(now) >= b.dueAt.Load()
}

// Expedite makes an ejected instance due for a trial at once. A trial that runs is
// left alone.
func (b *Instance) Expedite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); b.State() == StateOpen && now.Before(b.until) {
		b.until = now
		b.dueAt.Store(b.instant(now))
	}
}

// ClearRun forgets the run of failures: what they said no longer holds. The window
// stays.
func (b *Instance) ClearRun() {
	b.mu.Lock()
	b.run = 0
	b.rejudge()
	b.mu.Unlock()
	b.deliver()
}

// Reset makes the breaker as good as new: closed, with no failures and no ejections
// remembered. Attempts in flight no longer count, and a running trial is void.
func (b *Instance) Reset() {
	b.mu.Lock()
	b.inner = b.newInner()
	b.doublings = 0
	b.close(time.Now(), "reset")
	b.mu.Unlock()
	b.deliver()
}

// Counts returns what the breaker holds, for display.
func (b *Instance) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := b.window()
	return Counts{
		State:        b.State(),
		Overruled:    b.Overruled(),
		Requests:     int(counts.Requests),
		Failures:     int(counts.TotalFailures),
		Run:          b.run,
		Ejections:    b.ejections,
		EjectedSince: b.since,
		EjectedUntil: b.until,
	}
}
