package breaker

import (
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Hooks connect an instance breaker to its owner. Every field may be nil.
type Hooks struct {
	// MayEject is asked when the breaker would open by itself; false overrules it. It
	// is called with the breaker's lock held and must not call back into this breaker,
	// nor into what locks another one.
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
	core
	policy Policy
	hooks  Hooks
	run    int // failures since the last success; guarded by mu
}

// NewInstance returns a closed breaker. p must be valid: see [Policy.Validate].
func NewInstance(p Policy, h Hooks) *Instance {
	p = p.WithDefaults()
	b := &Instance{policy: p, hooks: h}
	b.setUp(settings{
		window: p.Window, trials: 1, first: p.Ejection, longest: p.MaxEjection, jitter: p.Jitter, stepBack: p.StepBack,
		dryRun: p.DryRun, rand: h.Rand, tell: h.Changed, condemn: b.condemned, forget: func() { b.run = 0 },
	})
	return b
}

// Word returns the breaker's state and epoch, with one atomic load. An attempt keeps
// the word it was picked with and hands it to [Instance.Record].
func (b *Instance) Word() uint64 { return b.word.Load() }

// State returns what the breaker does. In a dry run that is StateClosed, unless it was
// opened by hand: what it would do is in [Instance.Counts].
func (b *Instance) State() State { return acted(b.word.Load()) }

// Overruled reports whether the breaker is closed only because MayEject said no. In a
// dry run it is false.
func (b *Instance) Overruled() bool { return b.word.Load()&(overruledBit|dryBit) == overruledBit }

// Record counts the verdict of an attempt that was no trial and was picked with word.
// It is dropped unless the breaker was closed then and has stayed closed since. In a dry
// run, the first verdict after an ejection would be over is taken for that of its trial.
//
// gobreaker is asked and told in one step here, not at the pick and at the end: what
// lies between would cost a closure per attempt, and the epoch does its work.
func (b *Instance) Record(word uint64, v Verdict) {
	if v == Ignored || !b.counts(word) {
		return
	}
	b.mu.Lock()
	if !b.counts(word) {
		b.mu.Unlock()
		return
	}
	switch now := b.word.Load(); {
	case Decided(now) != StateClosed:
		b.rehearse(time.Now(), trialFailed(v))
	case v == Success:
		b.run = 0
		_, _ = b.inner.Execute(succeed)
		if now&overruledBit == 0 {
			b.mu.Unlock() // the way of nearly every attempt: nothing to tell
			return
		}
		b.rejudge()
	default:
		if v == Failure {
			b.run++
		}
		b.failed(time.Now())
	}
	b.mu.Unlock()
	b.deliver()
}

// Due reports whether a trial may be taken: the ejection is over and no trial runs, or
// the one that ran is lost. It is a few atomic loads. One by hand is never over.
func (b *Instance) Due(now time.Time) bool { return b.due(now) }

// Expedite makes an ejected instance due for a trial at once. A trial that runs is
// left alone, and so is an ejection by hand.
func (b *Instance) Expedite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); Decided(b.word.Load()) == StateOpen && now.Before(b.until) {
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
// remembered. Attempts in flight no longer count, and a running trial is void. A mode
// set by hand stays, and with it what it does.
func (b *Instance) Reset() { b.reset() }

// SetMode forces the breaker open, disables it, or lets it decide again, which begins as
// [Instance.Reset] does: to close it by hand, set Automatic. Attempts in flight no longer
// count, and a running trial is void. MayEject is not asked.
func (b *Instance) SetMode(m Mode) { b.setMode(m) }

// Counts returns what the breaker holds, for display.
func (b *Instance) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	word, window := b.word.Load(), counted(b.inner)
	return Counts{
		State:        Decided(word),
		Overruled:    word&overruledBit != 0,
		Mode:         modeOf(word),
		DryRun:       b.dryRun,
		Requests:     int(window.Requests),
		Failures:     int(window.TotalFailures),
		Run:          b.run,
		Ejections:    b.openings,
		EjectedSince: b.since,
		EjectedUntil: b.until,
	}
}

// The methods below require b.mu.

// condemned judges a closed breaker.
func (b *Instance) condemned(window gobreaker.Counts) (why string) {
	if !b.guilty(window) {
		return ""
	}
	if b.hooks.MayEject == nil || b.hooks.MayEject() {
		return b.reason(window)
	}
	if b.word.Load()&overruledBit == 0 {
		b.overrule(true, b.reason(window)+", but too many instances are ejected")
	}
	return ""
}

func (b *Instance) guilty(window gobreaker.Counts) bool {
	return b.run >= b.policy.ConsecutiveFailures || tooMany(window, b.policy.MinRequests, b.policy.FailureRatio)
}

// tooMany reports whether at least ratio of at least least counted as failures.
func tooMany(window gobreaker.Counts, least int, ratio float64) bool {
	return int(window.Requests) >= least && float64(window.TotalFailures) >= ratio*float64(window.Requests)
}

func (b *Instance) reason(window gobreaker.Counts) string {
	if b.run >= b.policy.ConsecutiveFailures {
		return fmt.Sprintf("%d failures in a row", b.run)
	}
	return fmt.Sprintf("%d of %d attempts failed in %v", window.TotalFailures, window.Requests, b.policy.Window)
}

// rejudge ends overruled when a failure would no longer eject.
func (b *Instance) rejudge() {
	if b.word.Load()&overruledBit != 0 && !b.guilty(counted(b.inner)) {
		b.overrule(false, "recovered")
	}
}

func (b *Instance) overrule(on bool, why string) {
	b.word.Store(b.word.Load() ^ overruledBit)
	b.changes.put(Change{Overruled: on, DryRun: b.dryRun, Why: why})
}
