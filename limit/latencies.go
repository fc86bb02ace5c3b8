package limit

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// subBuckets splits each power of two; within a bucket the median is interpolated,
	// so that it is a few percent off at most.
	subBuckets = 8
	subBits    = 3
	// buckets covers 1 µs to 2^32 µs, over an hour.
	buckets = 32 * subBuckets
)

// latencies counts latencies in buckets of a logarithmic scale. Adding takes no lock.
type latencies struct {
	counts [buckets]atomic.Uint32
	total  atomic.Int64
}

func (l *latencies) add(d time.Duration) {
	l.counts[bucket(d)].Add(1)
	l.total.Add(1)
}

// reset empties it. What is added meanwhile may be lost or kept: neither moves a median.
func (l *latencies) reset() {
	l.total.Store(0)
	for i := range l.counts {
		l.counts[i].Store(0)
	}
}

// median returns the median, at least a microsecond; 0 if nothing was added.
func (l *latencies) median() time.Duration {
	rest := float64(l.total.Load()) / 2
	for i := range l.counts {
		n := float64(l.counts[i].Load())
		if n > 0 && n >= rest {
			from, to := lower(i), lower(i+1)
			return from + time.Duration(rest/n*float64(to-from))
		}
		rest -= n
	}
	return 0
}

// bucket returns the index of the bucket for d: its power of two in microseconds, and
// the three bits that follow the leading one.
func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1))
	exp := bits.Len64(us) - 1
	sub := us << subBits >> exp & (subBuckets - 1)
	return min(exp*subBuckets+int(sub), buckets-1)
}

func lower(i int) time.Duration {
	exp, sub := i/subBuckets, i%subBuckets
	return time.Duration(uint64(time.Microsecond) << exp * uint64(subBuckets+sub) / subBuckets)
}
