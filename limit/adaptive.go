package limit

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome says what an attempt's end means for an adaptive limit.
type Outcome uint8

// The outcomes.
const (
	// Ignored says nothing of the load: cancelled, or never sent.
	Ignored Outcome = iota
	// Success: answered, whatever the answer; its latency is a sample.
	Success
	// Overload: refused for overload, or it hung until its time was up.
	Overload
)

// Sample is what an attempt's end tells an adaptive limit.
type Sample struct {
	// Elapsed is how long the attempt was on its way, without any wait for a slot.
	Elapsed time.Duration

	// Outcome is what it ended with. Default [Ignored].
	Outcome Outcome

	// InFlight is how many were in flight when its slot was given back, itself included,
	// if that is done already. Default: it is not.
	InFlight int
}

const (
	// minWindow is the least time between two changes of the limit (Envoy's 100 ms).
	minWindow = 100 * time.Millisecond
	// calmWeight is the weight of a window without load in the latency without load.
	calmWeight = 0.1
	// fewest is how many samples a median needs at least.
	fewest = 10
	// mostDropped is the share of overloads up to which the limit may grow: refusals
	// come so much faster than answers that a limit little too high has many.
	mostDropped = 0.1
	// backOff is what a window with more of them leaves of the limit (Netflix's AIMD).
	backOff = 0.9
)

// adaptive finds a limit: see the package comment. Every instant is in nanoseconds of
// Unix time when origin was read, and monotonic since.
type adaptive struct {
	policy Adaptive
	origin time.Time

	obeyed  atomic.Int64 // the limit that callers see
	since   atomic.Int64 // ends before are no samples
	due     atomic.Int64 // when there is something to decide
	peak    atomic.Int64 // the most in flight in this window
	dropped atomic.Int64 // overloads in this window
	held    atomic.Bool  // somebody found no room in this window
	samples latencies

	mu      sync.Mutex // guards what follows; who decides takes it
	limit   float64
	base    time.Duration // the median latency without load; 0: not known
	median  time.Duration // of the last window
	ends    int64         // when the window may be judged
	measure measure
	dip     dip
}

func newAdaptive(p Adaptive, now time.Time) *adaptive {
	a := &adaptive{policy: p, origin: now, limit: float64(p.Initial)}
	a.obeyed.Store(int64(p.Initial))
	a.since.Store(math.MinInt64)
	return a
}

// hold notes that somebody found no room.
func (a *adaptive) hold() {
	if !a.held.Load() {
		a.held.Store(true)
	}
}

// sample counts s, and decides what is due. inFlight includes the attempt. It reports
// whether the limit may have changed.
func (a *adaptive) sample(s Sample, inFlight int, now time.Time) bool {
	t := a.origin.UnixNano() + int64(now.Sub(a.origin))
	a.count(s, t)
	for peak := a.peak.Load(); int64(inFlight) > peak; peak = a.peak.Load() {
		if a.peak.CompareAndSwap(peak, int64(inFlight)) {
			break
		}
	}
	if t < a.due.Load() || !a.mu.TryLock() {
		return false
	}
	defer a.mu.Unlock()
	before := a.obeyed.Load()
	switch {
	case a.dip.phase != noDip:
		a.goOnDipping(inFlight-1, t)
	case a.base > 0 && t >= a.measure.next:
		a.considerDip(t)
	default:
		a.judge(t)
	}
	return a.obeyed.Load() != before
}

func (a *adaptive) count(s Sample, t int64) {
	if t < a.since.Load() {
		return
	}
	switch s.Outcome {
	case Success:
		a.samples.add(s.Elapsed)
	case Overload:
		a.dropped.Add(1)
	case Ignored:
	}
}

// judge ends the window if it holds enough. It requires a.mu.
func (a *adaptive) judge(t int64) {
	n, dropped := a.samples.total.Load(), a.dropped.Load()
	if n+dropped < enough(a.limit) {
		return
	}
	held, idle := a.held.Swap(false), 2*float64(a.peak.Load()) <= a.limit
	a.median = a.samples.median()
	switch {
	case a.base == 0:
		a.base = a.median // a first guess, under whatever load there is
	case a.median > 0 && idle && !held:
		a.base += time.Duration(calmWeight * float64(a.median-a.base))
	}
	a.adjust(float64(dropped)/float64(n+dropped), idle)
	a.measure.see(a.median, held)
	a.beginWindow(t, a.median)
}

// adjust moves the limit by one window. It requires a.mu.
func (a *adaptive) adjust(dropped float64, idle bool) {
	gradient := 1.0
	if a.median > 0 {
		gradient = min(1, (1+a.policy.Tolerance)*float64(a.base)/float64(a.median))
	}
	limit := a.limit * max(0.5, gradient)
	if dropped > mostDropped {
		limit = min(limit, backOff*a.limit)
	} else {
		limit += math.Sqrt(a.limit)
	}
	if idle {
		limit = min(limit, a.limit) // nobody knows whether more would do
	}
	a.limit = max(float64(a.policy.Min), min(limit, float64(a.policy.Max)))
	a.obeyed.Store(int64(a.limit))
}

// beginWindow begins a window of at least two round trips, of which the first is not
// looked at: it ends what began under another limit. All that ends in the second is, so
// that slow attempts have their share in the median. It requires a.mu.
func (a *adaptive) beginWindow(t int64, roundTrip time.Duration) {
	half := int64(max(minWindow/2, roundTrip))
	a.ends = t + 2*half
	a.since.Store(t + half)
	a.due.Store(a.ends)
	if a.base > 0 {
		a.due.Store(min(a.ends, a.measure.next))
	}
	a.peak.Store(0)
	a.dropped.Store(0)
	a.samples.reset()
}

// enough is how many ends a window must hold: those of four round trips, within bounds
// between which a median is worth something and does not come too late.
func enough(limit float64) int64 { return int64(max(fewest, min(4*limit, 50))) }
