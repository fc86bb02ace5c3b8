package limit

import (
	"sync/atomic"
	"time"
)

// steps is how many parts a window rolls in.
const steps = 10

// Throttler holds back calls that the service would refuse: see the package comment. It
// is safe for concurrent use and takes no lock. It reads no clock: every now must come
// from the same one.
type Throttler struct {
	policy   Throttle
	origin   time.Time
	step     time.Duration
	requests counter
	accepts  counter
}

// NewThrottler returns a throttler that has seen nothing. p must be valid: see
// [Throttle.Validate].
func NewThrottler(p Throttle, now time.Time) *Throttler {
	p = p.WithDefaults()
	return &Throttler{policy: p, origin: now, step: p.Window / steps}
}

// Allow reports whether a call may go to the service. rnd is a random number in [0, 1).
// A call that went must be followed by [Throttler.Done], unless its end says nothing of
// the service; one that may not counts at once.
func (t *Throttler) Allow(p Priority, now time.Time, rnd float64) bool {
	if rnd >= t.Rejected(p, now) {
		return true
	}
	t.requests.add(t.tick(now))
	return false
}

// Done tells of the end of a call that Allow let go. Accepted is all but a refusal for
// overload or an instance that did not answer: a handler's plain error is accepted.
func (t *Throttler) Done(accepted bool, now time.Time) {
	tick := t.tick(now)
	t.requests.add(tick)
	if accepted {
		t.accepts.add(tick)
	}
}

// Rejected returns the share of calls of priority p that are held back now.
func (t *Throttler) Rejected(p Priority, now time.Time) float64 {
	tick := t.tick(now)
	requests := float64(t.requests.sum(tick))
	if requests < float64(t.policy.MinRequests) {
		return 0
	}
	accepts := float64(t.accepts.sum(tick))
	share := (requests - t.k(p)*accepts) / (requests + 1)
	return max(0, min(share, t.policy.MaxRejected))
}

// k is K for a normal call; half as far from 1 for a sheddable one, and twice as far for
// a critical one.
func (t *Throttler) k(p Priority) float64 {
	switch {
	case p < Normal:
		return 1 + (t.policy.K-1)/2
	case p > Normal:
		return 1 + (t.policy.K-1)*2
	default:
		return t.policy.K
	}
}

// tick counts steps from 1, so that a counter's zero value holds nothing.
func (t *Throttler) tick(now time.Time) uint64 {
	return uint64(max(0, now.Sub(t.origin)/t.step)) + 1
}

// counter counts over the last steps ticks. Each slot is a tick << countBits | how many
// in it, so that a slot is taken over from its last lap in one step.
type counter [steps]atomic.Uint64

const (
	countBits = 32
	countMask = 1<<countBits - 1
)

// add counts one. An instant older than the slot's, by a caller who was held up, counts
// for the slot as it is.
func (c *counter) add(tick uint64) {
	slot := &c[tick%steps]
	for {
		w := slot.Load()
		if w>>countBits >= tick {
			slot.Add(1)
			return
		}
		if slot.CompareAndSwap(w, tick<<countBits|1) {
			return
		}
	}
}

func (c *counter) sum(tick uint64) uint64 {
	sum := uint64(0)
	for i := range c {
		if w := c[i].Load(); w>>countBits+steps > tick {
			sum += w & countMask
		}
	}
	return sum
}
