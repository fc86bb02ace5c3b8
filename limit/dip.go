package limit

import (
	"math"
	"time"
)

const (
	// dipShare is the part of an Interval that a dip lasts, unless the service is slow.
	// At the default Interval it is 500 ms (BBR's ProbeRTT: 200 ms).
	dipShare = 20
	// dipSpacing is the least time between regular dips in round trips; below it the
	// Interval is doubled, so that dips still fall together.
	dipSpacing = 16
	// looks is how often in an Interval an early dip is considered.
	looks = 10
	// stayed is what is left of the median, at half the limit, if it stayed: were it the
	// calls in flight that made it long, one half would be.
	stayed = 0.55
)

// measure knows when the latency without load is to be measured again.
type measure struct {
	next    int64         // when to consider it; 0: as soon as there is a base
	regular int64         // when a regular one is due
	limit   float64       // the limit at the last one
	worst   time.Duration // the highest median since
	held    bool          // somebody found no room since
	early   bool          // there was an early one since the last regular one
}

// see notes a window.
func (m *measure) see(median time.Duration, held bool) {
	m.worst = max(m.worst, median)
	m.held = m.held || held
}

// dip is a short time at half the limit, in which the service works off what it has
// queued, so that its latency without load can be seen.
type dip struct {
	phase phase
	began int64
	most  time.Duration // what base may become
}

type phase uint8

const (
	noDip     phase = iota
	draining        // more are in flight than the dip allows
	measuring       // attempts find no queue
)

// considerDip begins a dip
//
//   - at each Interval, if the limit held anyone back since the last;
//   - once in between, if the limit lost half and latencies did not fall with it: then it
//     is not the calls in flight that make them long. It at most doubles base, since
//     with other clients, which may not dip then, that is only likely.
//
// It is called at multiples of a tenth of the interval since 1970. So all clients of a
// service dip together, as far as their clocks agree; were they to dip one by one, the
// others' calls would keep the service's queue as it is. It requires a.mu.
func (a *adaptive) considerDip(t int64) {
	m, interval := &a.measure, int64(a.policy.Interval)
	regular := t >= m.regular
	m.next = nextMultiple(interval/looks, t)
	if regular {
		for interval < dipSpacing*int64(a.base) {
			interval *= 2
		}
		m.regular, m.early = nextMultiple(interval, t), false
	}
	switch {
	case regular && (m.held || a.held.Load()):
		a.beginDip(t, math.MaxInt64)
	case !m.early && 2*a.limit <= m.limit && float64(a.median) > stayed*float64(m.worst):
		m.early = true
		a.beginDip(t, 2*a.base)
	default:
		a.due.Store(min(a.ends, m.next))
	}
}

// beginDip requires a.mu.
func (a *adaptive) beginDip(t int64, most time.Duration) {
	a.dip = dip{draining, t, most}
	a.obeyed.Store(a.dipLimit())
	a.since.Store(math.MaxInt64)
	a.dropped.Store(0)
	a.samples.reset()
	a.due.Store(t)
}

// goOnDipping requires a.mu.
func (a *adaptive) goOnDipping(inFlight int, t int64) {
	n, dropped := a.samples.total.Load(), a.dropped.Load()
	length := int64(a.policy.Interval) / dipShare
	switch {
	case a.dip.phase == draining && int64(inFlight) <= a.dipLimit():
		a.dip.phase = measuring
		a.beginWindow(t, a.base)
		a.since.Store(max(a.since.Load(), a.dip.began+length/2)) // other clients drain as well
		a.due.Store(max(a.ends, a.dip.began+length))
		return
	case n+dropped < enough(float64(a.dipLimit())) && t-a.dip.began < a.patience():
		return
	case a.dip.phase == measuring && n > dropped && n >= fewest:
		a.base = min(a.samples.median(), a.dip.most)
	}
	a.dip.phase = noDip
	a.obeyed.Store(int64(a.limit))
	a.held.Store(false) // it was the dip that held them back
	a.measure.limit, a.measure.worst, a.measure.held = a.limit, 0, false
	a.beginWindow(t, a.base)
}

// patience is how long a dip may take. It requires a.mu.
func (a *adaptive) patience() int64 {
	return max(int64(a.policy.Interval)/4, 8*int64(max(a.base, a.median)))
}

// dipLimit requires a.mu.
func (a *adaptive) dipLimit() int64 { return max(int64(a.policy.Min), int64(a.limit/2)) }

// nextMultiple returns the first multiple of step after t.
func nextMultiple(step, t int64) int64 { return (t/step + 1) * step }
