package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// blameHalf is half of the window of a Blame: it sees the current half and the one
// before, so 5 to 10 s.
const blameHalf = 5 * time.Second

// Blame tells the failures of an instance from those of a method: one that fails alike
// on most instances is not held against them, or a single broken handler, which each of
// them has, would eject the fleet for all other methods too. There is one Blame per
// method. It is safe for concurrent use, reads no clock, and remembers only instances
// that failed within its window.
type Blame struct {
	origin    time.Time
	successes [2]atomic.Uint64 // of the even and of the odd halves: half<<countBits | count

	mu       sync.Mutex
	half     int64            // the newest half seen by Failure
	failures [2]uint64        // of the even and of the odd halves
	failed   map[uint64]int64 // instance → the half of its latest failure
}

// A counter of successes carries the half it belongs to, so that the first success of
// a new half also clears it.
const (
	countBits = 40
	countMask = 1<<countBits - 1
	halfMask  = 1<<(64-countBits) - 1
)

// NewBlame returns a Blame that has seen nothing.
func NewBlame() *Blame {
	return &Blame{origin: time.Now(), failed: make(map[uint64]int64)}
}

// Success tells of an attempt of the method that succeeded. It is one atomic addition.
// One that comes two halves late is dropped.
func (b *Blame) Success(now time.Time) {
	half := b.halfOf(now)
	counter := &b.successes[half&1]
	for {
		old := counter.Load()
		switch ahead := (uint64(half) - old>>countBits) & halfMask; {
		case ahead == 0:
			counter.Add(1)
			return
		case ahead > halfMask/2: // the counter is, by that much
			return
		case counter.CompareAndSwap(old, uint64(half)<<countBits|1):
			return
		}
	}
}

// Failure tells of an attempt of the method that failed on instance, while connected
// instances had a connection. It reports whether the method is to blame: at least two
// are connected, more than half of them failed it within the window, and so did at
// least half of its attempts.
func (b *Blame) Failure(instance uint64, now time.Time, connected int) (shared bool) {
	half := b.halfOf(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	half = max(half, b.half) // one that comes late counts as of now
	b.turn(half)
	b.failures[half&1]++
	b.failed[instance] = half
	return connected >= 2 && 2*len(b.failed) > connected &&
		b.failures[0]+b.failures[1] >= b.successesIn(half)+b.successesIn(half-1)
}

// Forget drops the failures seen so far: they were those of an outage of the whole
// service, which is over, and no method was to blame.
func (b *Blame) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = [2]uint64{}
	clear(b.failed)
}

// turn drops what is older than the half before this one. It requires b.mu.
func (b *Blame) turn(half int64) {
	if half == b.half {
		return
	}
	b.failures[half&1] = 0
	if half > b.half+1 {
		b.failures[(half-1)&1] = 0
	}
	b.half = half
	for instance, last := range b.failed {
		if last < half-1 {
			delete(b.failed, instance)
		}
	}
}

func (b *Blame) successesIn(half int64) uint64 {
	counter := b.successes[half&1].Load()
	if counter>>countBits != uint64(half)&halfMask {
		return 0
	}
	return counter & countMask
}

// halfOf takes a now before the Blame was made for when it was made.
func (b *Blame) halfOf(now time.Time) int64 {
	return int64(max(0, now.Sub(b.origin)) / blameHalf)
}
