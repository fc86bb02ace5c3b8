// Package quantile estimates quantiles of latencies over the recent past.
package quantile

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// subBuckets splits each power of two, so that an estimate is at most 1/8 too high.
	subBuckets = 8
	subBits    = 3
	// buckets covers 1 µs to 2^36 µs, 19 hours.
	buckets = 36 * subBuckets
	// Window is how far back an estimate looks, at most; at least half of it.
	Window = 20 * time.Second
	// rotateAt is how many samples a half-window holds before it may be replaced: a
	// quiet method keeps what it learned.
	rotateAt = 100
	// refresh is how often an estimate is computed anew.
	refresh = 50 * time.Millisecond
)

// Sketch counts latencies in buckets of a logarithmic scale, over two half-windows.
// It is safe for concurrent use and takes no lock. The zero value is empty.
type Sketch struct {
	halves  [2]half
	current atomic.Uint32 // which half receives samples
	rotated atomic.Int64  // when it began to, in nanoseconds
	updated atomic.Int64  // when the estimates were computed
	samples atomic.Int64  // behind them
	p50     atomic.Int64
	p95     atomic.Int64
	p99     atomic.Int64
}

type half struct {
	counts [buckets]atomic.Uint32
	total  atomic.Int64
}

// Add records one latency.
func (s *Sketch) Add(d time.Duration, now int64) {
	h := &s.halves[s.current.Load()&1]
	h.counts[bucket(d)].Add(1)
	if n := h.total.Add(1); n >= rotateAt || s.samples.Load() == 0 {
		s.rotate(now)
	}
	if last := s.updated.Load(); now-last >= int64(refresh) || s.samples.Load() < rotateAt {
		if s.updated.CompareAndSwap(last, now) || last == now {
			s.compute()
		}
	}
}

// P50 is the latency that half of the calls stay below.
func (s *Sketch) P50() time.Duration { return time.Duration(s.p50.Load()) }

// P95 is the latency that 95 of 100 calls stay below.
func (s *Sketch) P95() time.Duration { return time.Duration(s.p95.Load()) }

// P99 is the latency that 99 of 100 calls stay below.
func (s *Sketch) P99() time.Duration { return time.Duration(s.p99.Load()) }

// Samples is the number of latencies behind the estimates.
func (s *Sketch) Samples() int64 { return s.samples.Load() }

// rotate empties the older half and makes it the current one, once per half-window.
// A sample that another goroutine adds meanwhile may be lost or counted a
// half-window longer: neither moves a quantile.
func (s *Sketch) rotate(now int64) {
	began := s.rotated.Load()
	if began == 0 {
		s.rotated.CompareAndSwap(0, now)
		return
	}
	if now-began < int64(Window/2) || !s.rotated.CompareAndSwap(began, now) {
		return
	}
	next := (s.current.Load() + 1) & 1
	for i := range s.halves[next].counts {
		s.halves[next].counts[i].Store(0)
	}
	s.halves[next].total.Store(0)
	s.current.Store(next)
}

func (s *Sketch) compute() {
	var merged [buckets]uint32
	total := int64(0)
	for h := range s.halves {
		for i := range merged {
			n := s.halves[h].counts[i].Load()
			merged[i] += n
			total += int64(n)
		}
	}
	s.p50.Store(int64(at(&merged, total, 0.50)))
	s.p95.Store(int64(at(&merged, total, 0.95)))
	s.p99.Store(int64(at(&merged, total, 0.99)))
	s.samples.Store(total)
}

// at returns the upper bound of the bucket in which quantile q lies.
func at(counts *[buckets]uint32, total int64, q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(total)))
	for i, n := range counts {
		if rank -= int64(n); rank <= 0 {
			return upper(i)
		}
	}
	return 0
}

// bucket returns the index of the bucket for d: its power of two in microseconds,
// and the three bits that follow the leading one.
func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1))
	exp := bits.Len64(us) - 1
	sub := us << subBits >> exp & (subBuckets - 1)
	return min(exp*subBuckets+int(sub), buckets-1)
}

func upper(i int) time.Duration {
	exp, sub := i/subBuckets, i%subBuckets
	return time.Duration(uint64(1)<<exp*uint64(subBuckets+sub+1)/subBuckets) * time.Microsecond
}
