package balancer

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// decay is the time in which an estimate forgets (Finagle's and Linkerd's 10 s).
	decay = 10 * time.Second
	// latencyFloor is the latency below which instances count as equally fast: under
	// it, differences are the scheduler's, not the instance's.
	latencyFloor = float64(time.Millisecond)
	// sameBelow is the multiple of the fleet's median below which instances count as
	// equally fast too. Two choices turn any order among equals, noise included, into
	// shares of 36 to 4 % of five: only what is truly slow may be ordered.
	sameBelow = 2
	// maxRise bounds how much one sample can raise an estimate: one garbage collection
	// must not cost an instance its share for a minute.
	maxRise = 2
	// minSink is how much of the way down one sample takes an estimate at least: a peak
	// that the next answers do not bear out is forgiven within some twenty of them, and
	// not held against a busy instance for seconds.
	minSink = 1.0 / 16
	// failurePenalty is what a failure is charged, in medians of the fleet: an instance
	// that fails fast must not look fast.
	failurePenalty = 10
)

// latency is a peak-sensitive moving average: it rises with a sample at once and
// sinks with time. Updates may overtake each other; a lost one does not matter.
type latency struct {
	value    atomic.Uint64 // float64 bits, nanoseconds; 0: no sample yet
	stamp    atomic.Int64  // when value was set
	progress atomic.Int64  // when the instance last answered, or in-flight last left zero
}

// estimate returns the latency to expect at now: value, drawn towards the fleet's
// median as it ages, or the time that calls in flight have waited, whichever is more.
func (l *latency) estimate(now int64, median float64, waiting bool) float64 {
	est := median
	if v := l.value.Load(); v != 0 {
		est += (math.Float64frombits(v) - median) * fade(now-l.stamp.Load())
	}
	if waiting {
		est = max(est, float64(now-l.progress.Load()))
	}
	return max(est, latencyFloor)
}

// add takes a sample.
func (l *latency) add(sample, median float64, now int64) {
	est := median
	if v := l.value.Load(); v != 0 {
		est = math.Float64frombits(v)
	}
	est = max(est, 1)
	if sample > est {
		est = min(sample, max(est, latencyFloor)*maxRise)
	} else {
		est += (sample - est) * max(1-fade(now-l.stamp.Load()), minSink)
	}
	l.value.Store(math.Float64bits(est))
	l.stamp.Store(now)
}

func (l *latency) forget() { l.value.Store(0) }

// fade is e^(-age/decay), near enough: the quotient of its series' first terms is
// within 0.07 of it everywhere and costs two nanoseconds.
func fade(age int64) float64 {
	if age <= 0 {
		return 1
	}
	x := float64(age) / float64(decay)
	return 1 / (1 + x + x*x/2)
}

// median follows the median of the fleet's latencies: each sample moves it a step of
// one part in 32 towards itself. It is told one call in eight.
type median struct{ bits atomic.Uint64 }

func (m *median) get() float64 { return math.Float64frombits(m.bits.Load()) }

func (m *median) add(sample float64) {
	v := m.get()
	switch {
	case v == 0:
		v = sample
	case sample > v:
		v += v / 32
	default:
		v -= v / 32
	}
	m.bits.Store(math.Float64bits(v))
}
