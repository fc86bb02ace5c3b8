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
}

const (
	// minWindow is the least time between two changes of the limit (Envoy's 100 ms).
	minWindow = 100 * time.Millisecond
	// minDipSpacing is the least number of round trips from one dip to the next: a dip
	// lasts three to five of them at half the limit, so that it costs at most a few
	// percent.
	minDipSpacing = 64
	// calmWeight is the weight of a window without load in the latency without load.
	calmWeight = 0.1
)

// adaptive finds a limit: see the package comment. Every instant is in nanoseconds of
// Unix time, monotonic since origin.
type adaptive struct {
	policy Adaptive
	origin time.Time

	obeyed  atomic.Int64 // the limit that callers see
	since   atomic.Int64 // attempts begun before are no samples
	due     atomic.Int64 // when the window may be judged
	peak    atomic.Int64 // the most in flight in this window
	dropped atomic.Int64 // overloads in this window
	held    atomic.Bool  // somebody found no room in this window
	samples latencies

	mu       sync.Mutex // guards what follows; who judges takes it
	limit    float64
	base     time.Duration // the median latency without load; 0: not known
	highest  float64       // the highest limit since base was measured
	binding  bool          // somebody found no room since base was measured
	nextDip  int64
	dip      phase
	dipBegan int64
}

// phase is how far a dip is.
type phase uint8

const (
	noDip     phase = iota
	draining        // more are in flight than the dip's limit
	measuring       // those begun from now on find no queue
)

func newAdaptive(p Adaptive, now time.Time) *adaptive {
	a := &adaptive{policy: p, origin: now, limit: float64(p.Initial), highest: float64(p.Initial)}
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

// sample counts s, and judges the window if it is due. inFlight includes the attempt. It
// reports whether the limit may have changed.
func (a *adaptive) sample(s Sample, inFlight int, now time.Time) bool {
	t := a.origin.UnixNano() + int64(now.Sub(a.origin))
	if t-int64(s.Elapsed) >= a.since.Load() {
		switch s.Outcome {
		case Success:
			a.samples.add(s.Elapsed)
		case Overload:
			a.dropped.Add(1)
		case Ignored:
		}
	}
	for peak := a.peak.Load(); int64(inFlight) > peak; peak = a.peak.Load() {
		if a.peak.CompareAndSwap(peak, int64(inFlight)) {
			break
		}
	}
	if t < a.due.Load() || !a.mu.TryLock() {
		return false
	}
	defer a.mu.Unlock()
	if a.dip != noDip {
		a.goOnDipping(inFlight-1, t)
	} else {
		a.judge(t)
	}
	return true
}

// judge ends the window if it holds enough. It requires a.mu.
func (a *adaptive) judge(t int64) {
	n, dropped := a.samples.total.Load(), a.dropped.Load()
	if n+dropped < enough(a.limit) {
		return
	}
	held, idle := a.held.Swap(false), 2*float64(a.peak.Load()) <= a.limit
	a.binding = a.binding || held
	median := a.samples.median()
	if a.base == 0 {
		a.base = median
		a.nextDip = t // a first guess, under whatever load there is
	} else if median > 0 && !held && idle {
		a.base += time.Duration(calmWeight * float64(median-a.base))
	}
	a.adjust(median, float64(dropped)/float64(n+dropped), idle)
	if a.base > 0 && a.wantsDip(t) {
		a.beginDip(t)
		return
	}
	a.beginWindow(median, t)
}

// adjust moves the limit by one window. It requires a.mu.
func (a *adaptive) adjust(median time.Duration, dropped float64, idle bool) {
	gradient := 1.0
	if median > 0 {
		gradient = min(1, (1+a.policy.Tolerance)*float64(a.base)/float64(median))
	}
	next := a.limit*max(0.5, gradient*(1-dropped)) + math.Sqrt(a.limit)
	if idle {
		next = min(next, a.limit) // nobody knows whether more would do
	}
	a.limit = max(float64(a.policy.Min), min(next, float64(a.policy.Max)))
	a.highest = max(a.highest, a.limit)
	a.obeyed.Store(int64(a.limit))
}

// wantsDip reports whether the latency without load is to be measured again: it is time
// and the limit holds calls back, or the limit has lost half and there may be another
// cause. It requires a.mu.
func (a *adaptive) wantsDip(t int64) bool {
	if t >= a.nextDip {
		binding := a.binding
		a.plan(t)
		if binding {
			return true
		}
	}
	return 2*a.limit <= a.highest
}

// plan sets when the next dip is due: at a multiple of the interval since 1970, so that
// all clients of a service, whose clocks agree, dip together. It requires a.mu.
func (a *adaptive) plan(t int64) {
	interval := int64(a.policy.Interval)
	for interval < minDipSpacing*int64(a.base) {
		interval *= 2
	}
	a.nextDip = (t/interval + 1) * interval
	a.binding = false
}

func (a *adaptive) beginDip(t int64) {
	a.dip, a.dipBegan = draining, t
	a.obeyed.Store(a.dipLimit())
	a.since.Store(math.MaxInt64)
	a.due.Store(t)
}

func (a *adaptive) dipLimit() int64 { return max(int64(a.policy.Min), int64(a.limit/2)) }

// goOnDipping requires a.mu.
func (a *adaptive) goOnDipping(inFlight int, t int64) {
	n, dropped := a.samples.total.Load(), a.dropped.Load()
	switch {
	case a.dip == draining && int64(inFlight) <= a.dipLimit():
		a.dip = measuring
		a.beginWindow(a.base, t)
		return
	case a.dip == measuring && n+dropped >= enough(float64(a.dipLimit())):
		if median := a.samples.median(); 2*n >= dropped && median > 0 {
			a.base = median
		}
	case t-a.dipBegan < int64(a.policy.Interval)/4:
		return
	}
	a.dip = noDip
	a.highest, a.binding = a.limit, false
	a.held.Store(false) // whom the dip held back
	a.obeyed.Store(int64(a.limit))
	a.beginWindow(a.base, t)
}

// beginWindow begins a window of at least two round trips, so that its samples are of
// attempts made under the present limit, and not only the quick ones of those.
func (a *adaptive) beginWindow(roundTrip time.Duration, t int64) {
	a.since.Store(t)
	a.due.Store(t + int64(max(minWindow, 2*roundTrip)))
	a.peak.Store(0)
	a.dropped.Store(0)
	a.samples.reset()
}

// enough is how many ends a window must hold: those of four round trips, within bounds
// between which a median is worth something and does not come too late.
func enough(limit float64) int64 { return int64(max(10, min(4*limit, 50))) }
