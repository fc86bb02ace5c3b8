package breaker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// innerTimeout is gobreaker's own open time, and so the least an ejection can last.
// gobreaker's is fixed and ours are not, so its is made so short that ours decides.
const innerTimeout = time.Millisecond

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

// What follows requires b.mu, except current, instant and deliver.

// newInner returns gobreaker's half: the window while closed, and the three states.
func (b *Instance) newInner() *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  1,
		Interval:     b.policy.Window,
		BucketPeriod: b.policy.Window / 10,
		Timeout:      innerTimeout,
		ReadyToTrip:  b.readyToTrip,
	})
}

// succeed and fail are what gobreaker executes: the attempt is already over.
func succeed() (struct{}, error) { return struct{}{}, nil }
func fail() (struct{}, error)    { return struct{}{}, errAttempt }

var errAttempt = errors.New("breaker: the attempt failed")

// current reports whether word is of this epoch, and the epoch that of a closed
// breaker.
func (b *Instance) current(word uint64) bool {
	return Closed(word) && word>>epochShift == b.word.Load()>>epochShift
}

// readyToTrip is called by gobreaker, under its lock as well, after each failure.
func (b *Instance) readyToTrip(counts gobreaker.Counts) bool {
	if !b.condemned(counts) {
		return false
	}
	if b.hooks.MayEject != nil && !b.hooks.MayEject() {
		if b.word.Load()&overruledBit == 0 {
			b.overrule(true, b.reason(counts)+", but too many instances are ejected")
		}
		return false
	}
	b.tripping = b.reason(counts)
	return true
}

func (b *Instance) condemned(counts gobreaker.Counts) bool {
	return b.run >= b.policy.ConsecutiveFailures ||
		int(counts.Requests) >= b.policy.MinRequests &&
			float64(counts.TotalFailures) >= b.policy.FailureRatio*float64(counts.Requests)
}

func (b *Instance) reason(counts gobreaker.Counts) string {
	if b.run >= b.policy.ConsecutiveFailures {
		return fmt.Sprintf("%d failures in a row", b.run)
	}
	return fmt.Sprintf("%d of %d attempts failed in %v", counts.TotalFailures, counts.Requests, b.policy.Window)
}

// rejudge ends overruled when a failure would no longer eject.
func (b *Instance) rejudge() {
	if b.word.Load()&overruledBit != 0 && !b.condemned(b.window()) {
		b.overrule(false, "recovered")
	}
}

// window is what gobreaker counts, as of now: State makes it drop what is too old,
// Counts alone does not.
func (b *Instance) window() gobreaker.Counts {
	b.inner.State()
	return b.inner.Counts()
}

func (b *Instance) overrule(on bool, why string) {
	b.word.Store(b.word.Load() ^ overruledBit)
	b.changes.put(Change{Overruled: on, Why: why})
}

// eject opens the breaker, from closed or after a failed trial.
func (b *Instance) eject(now time.Time, why string) {
	if b.State() == StateClosed {
		b.doublings = max(0, b.doublings-int(now.Sub(b.closedAt)/b.policy.StepBack))
		b.since = now
	}
	span := b.policy.Ejection << b.doublings
	if span < b.policy.MaxEjection {
		b.doublings++ // not further: each one takes a StepBack to undo
	} else {
		span = b.policy.MaxEjection
	}
	jitter := b.policy.Jitter * (2*b.hooks.Rand() - 1)
	b.until = now.Add(span + time.Duration(jitter*float64(span)))
	b.ejections++
	b.run = 0
	b.dueAt.Store(b.instant(b.until))
	b.move(StateOpen, why)
}

// close closes the breaker. From closed it only moves the epoch.
func (b *Instance) close(now time.Time, why string) {
	b.run = 0
	b.closedAt = now
	b.since, b.until = time.Time{}, time.Time{}
	b.move(StateClosed, why)
}

// move enters state, in a new epoch, and returns the new word.
func (b *Instance) move(to State, why string) uint64 {
	from := b.word.Load()
	word := nextWord(from, to)
	b.word.Store(word)
	if stateOf(from) != to || from&overruledBit != 0 {
		c := Change{From: stateOf(from), To: to, Why: why}
		if to == StateOpen {
			c.Until = b.until
		}
		b.changes.put(c)
	}
	return word
}

func (b *Instance) deliver() { b.changes.deliver(b.tellChange) }

func (b *Instance) instant(t time.Time) int64 { return int64(t.Sub(b.origin)) }
