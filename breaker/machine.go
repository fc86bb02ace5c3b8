package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// The methods of this file require b.mu, except current, instant and deliver.

// innerTimeout is gobreaker's own open time, and so the least an ejection can last.
// gobreaker's is fixed and ours are not, so its is made so short that ours decides.
const innerTimeout = time.Millisecond

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
