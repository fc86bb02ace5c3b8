package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLimit is the limit of a [Limiter] to which nobody gave one (Envoy, gRPC's xDS).
const DefaultLimit = 1024

// Limiter bounds how many are in flight. It is safe for concurrent use. While there is
// room and nobody waits it takes no lock and allocates nothing.
type Limiter struct {
	fixed    atomic.Int64 // 0: the limit is another
	fallback func() int
	adaptive *adaptive // nil: the limit is fixed, or else fallback's
	crowded  func(inFlight, limit int)

	word atomic.Uint64 // how many wait << 32 | how many are in flight
	told atomic.Bool   // of the crowd, until it is gone

	// mu guards queue. While somebody waits, it guards every change of word as well:
	// so a slot that is given back goes to who waits, and never to who comes by.
	mu    sync.Mutex
	queue queue
}

// Ask is what a call says of itself when it asks to be let through.
type Ask struct {
	// Priority of the call. Default [Normal].
	Priority Priority

	// Deadline of the call. Default: that of its context, if it has one.
	Deadline time.Time

	// Need is how much of the time until Deadline must be left when the wait is over.
	// Default 0.
	Need time.Duration
}

// NewLimiter returns a limiter with nothing in flight. p must be valid: see
// [Concurrency.Validate].
//
// fallback gives the limit when p sets none; it is asked each time, so it must be cheap
// and safe for concurrent use. nil, or an answer below 1, is [DefaultLimit]. A limit that
// it raises is seen by those who wait at the next change.
//
// crowded, which may be nil, is told when 80 % of the limit are in flight, and not again
// before less than half were; limits below 5, which are full in ordinary use, tell
// nothing. It is called with no lock held, from whoever asked for the slot.
func NewLimiter(p Concurrency, fallback func() int, crowded func(inFlight, limit int)) *Limiter {
	p = p.WithDefaults()
	l := &Limiter{fallback: fallback, crowded: crowded, queue: queue{policy: p.Queue}}
	l.fixed.Store(int64(p.Limit))
	if p.Adaptive.On {
		l.adaptive = newAdaptive(p.Adaptive, time.Now())
	}
	return l
}

// TryAcquire takes a slot if there is room even for a sheddable call and nobody waits. If
// it reports false, ask with [Limiter.Acquire], which needs to know more.
func (l *Limiter) TryAcquire() (ok bool) {
	limit := l.Limit()
	return l.take(limit, room(limit, Sheddable))
}

// Acquire takes a slot, waiting for one if the policy has a queue. It returns nil, an
// error that matches [ErrExceeded], or the error of ctx when that ended the wait. Every
// nil must be followed by one [Limiter.Release]. now is the time by the caller's clock.
func (l *Limiter) Acquire(ctx context.Context, ask Ask, now time.Time) error {
	if limit := l.Limit(); l.take(limit, room(limit, ask.Priority)) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.queueUp(ctx, ask, now)
}

// Queues reports whether a call that finds no slot may wait for one.
func (l *Limiter) Queues() bool { return l.queue.policy.MaxWaiting > 0 }

// Release gives a slot back, to the next who waits if anyone does. Without a slot taken
// it does nothing.
func (l *Limiter) Release() {
	for {
		w := l.word.Load()
		switch {
		case inFlight(w) == 0:
			return
		case waiting(w) > 0:
			l.handOver()
			return
		case l.word.CompareAndSwap(w, w-oneInFlight):
			l.disperse(inFlight(w) - 1)
			return
		}
	}
}

// Sample tells an adaptive limit how an attempt went; for any other it does nothing. It
// comes before the [Limiter.Release] of the same slot, unless s says how many were in flight
// then. now is when the attempt ended.
func (l *Limiter) Sample(s Sample, now time.Time) {
	if l.adaptive == nil {
		return
	}
	inFlight := s.InFlight
	if inFlight == 0 {
		inFlight = l.InFlight()
	}
	if !l.adaptive.sample(s, inFlight, now) || l.Waiting() == 0 {
		return
	}
	l.mu.Lock()
	l.dispatch(now)
	l.mu.Unlock()
}

// Limit returns how many may be in flight now.
func (l *Limiter) Limit() int {
	switch {
	case l.fixed.Load() > 0:
		return int(l.fixed.Load())
	case l.adaptive != nil:
		return int(l.adaptive.obeyed.Load())
	case l.fallback != nil:
		if limit := l.fallback(); limit > 0 {
			return limit
		}
	}
	return DefaultLimit
}

// SetLimit changes a fixed limit, of which what is in flight stays part; it does nothing to
// any other. Those who wait see a higher one at the next change.
func (l *Limiter) SetLimit(limit int) {
	if l.fixed.Load() > 0 && limit > 0 {
		l.fixed.Store(int64(limit))
	}
}

// InFlight returns how many slots are taken.
func (l *Limiter) InFlight() int { return inFlight(l.word.Load()) }

// Waiting returns how many wait for a slot.
func (l *Limiter) Waiting() int { return waiting(l.word.Load()) }

const (
	oneInFlight uint64 = 1
	oneWaiting  uint64 = 1 << 32
)

func inFlight(w uint64) int { return int(uint32(w)) }
func waiting(w uint64) int  { return int(w >> 32) }

// take takes a slot while fewer than room are in flight and nobody waits.
func (l *Limiter) take(limit, room int) bool {
	for {
		w := l.word.Load()
		if inFlight(w) >= room || waiting(w) > 0 {
			return false
		}
		if l.word.CompareAndSwap(w, w+oneInFlight) {
			l.crowd(inFlight(w)+1, limit)
			return true
		}
	}
}

// move changes both counts at once. It is for whoever needs no condition.
func (l *Limiter) move(inFlight, waiting int64) { l.word.Add(uint64(waiting<<32 + inFlight)) }

// crowd tells of a crowd, once.
func (l *Limiter) crowd(n, limit int) {
	if l.crowded == nil || limit < 5 || n < room(limit, Sheddable) || l.told.Load() {
		return
	}
	if l.told.CompareAndSwap(false, true) {
		l.crowded(n, limit)
	}
}

// disperse lets the next crowd be told of when this one is gone.
func (l *Limiter) disperse(n int) {
	if l.told.Load() && 2*n < l.Limit() {
		l.told.Store(false)
	}
}
