package surecall

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/surecall/surecall/limit"
)

// store keeps the answers of one method. What it keeps is never changed, so that it is
// read without a lock once it was found.
type store struct {
	seed   maphash.Seed
	shards []shard
}

// shard is a part of a store, with the keys whose hash falls into it.
type shard struct {
	maxBytes int

	mu      sync.Mutex
	answers *simplelru.LRU[string, *answer]
	bytes   int // of all answers, by cost
	flights map[wish]*flight
}

// answer is a reply as it came over the wire: its size is known, and whoever gets it
// makes a message of its own from it.
type answer struct {
	wire []byte
	came time.Time
}

func (a *answer) age(now time.Time) time.Duration { return max(0, now.Sub(a.came)) }

// wish is what a call must have in common with another to wait for its answer. Else a
// critical call would queue with a sheddable one, and one that wants to be rejected would
// wait with one that does not.
type wish struct {
	key      string
	priority limit.Priority
	waits    bool // for ready
}

// flight is one call that asks for what others want, too. Its fields are written before
// done is closed.
type flight struct {
	done   chan struct{}
	answer *answer // nil: there is none
	err    error   // of the call; nil without an answer: it says nothing to the others
}

const (
	// parts is how many shards a large store has; below either of the other two it has one,
	// because its bounds, divided, would be too small to be of use.
	parts       = 16
	partEntries = 1024
	partBytes   = 16 << 20
	// overhead is what an answer takes beside its bytes and those of its key, in bytes:
	// measured at 163 (TestStoreMemory), and more while the map grows.
	overhead = 200
)

// newStore returns an empty store within the bounds, which are at least 1.
func newStore(maxEntries, maxBytes int) *store {
	n := parts
	if maxEntries < partEntries || maxBytes < partBytes {
		n = 1
	}
	s := &store{seed: maphash.MakeSeed(), shards: make([]shard, n)}
	for i := range s.shards {
		p := &s.shards[i]
		p.maxBytes, p.flights = maxBytes/n, map[wish]*flight{}
		p.answers, _ = simplelru.NewLRU(maxEntries/n, func(key string, a *answer) { // fails only for a size below 1
			p.bytes -= cost(key, a)
		})
	}
	return s
}

func cost(key string, a *answer) int { return len(key) + len(a.wire) + overhead }

func (s *store) shard(key string) *shard {
	if len(s.shards) == 1 {
		return &s.shards[0]
	}
	return &s.shards[maphash.String(s.seed, key)%uint64(len(s.shards))]
}

// get returns the answer to key, if there is one that is not older than most.
func (s *store) get(key string, most time.Duration, now time.Time) *answer {
	p := s.shard(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.get(key, most, now)
}

func (p *shard) get(key string, most time.Duration, now time.Time) *answer {
	if a, ok := p.answers.Get(key); ok && a.age(now) <= most {
		return a
	}
	return nil
}

// put keeps a as the answer to key, if it fits.
func (s *store) put(key string, a *answer) {
	p := s.shard(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers.Remove(key)
	if cost(key, a) > p.maxBytes {
		return
	}
	p.answers.Add(key, a)
	p.bytes += cost(key, a)
	for p.bytes > p.maxBytes {
		p.answers.RemoveOldest()
	}
}

// drop forgets the answer to key.
func (s *store) drop(key string) {
	p := s.shard(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers.Remove(key)
}

// enter returns the answer to w if it is not older than fresh. Else it returns the
// flight that brings one: led tells that the caller has to bring it, and to land then.
func (s *store) enter(w wish, fresh time.Duration, now time.Time) (a *answer, f *flight, led bool) {
	p := s.shard(w.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.get(w.key, fresh, now); a != nil {
		return a, nil, false
	}
	if f := p.flights[w]; f != nil {
		return nil, f, false
	}
	f = &flight{done: make(chan struct{})}
	p.flights[w] = f
	return nil, f, true
}

// land lets those who wait for f go on.
func (s *store) land(w wish, f *flight) {
	p := s.shard(w.key)
	p.mu.Lock()
	delete(p.flights, w)
	p.mu.Unlock()
	close(f.done)
}

// size returns how many answers there are, and their cost.
func (s *store) size() (entries, bytes int) {
	for i := range s.shards {
		p := &s.shards[i]
		p.mu.Lock()
		entries, bytes = entries+p.answers.Len(), bytes+p.bytes
		p.mu.Unlock()
	}
	return entries, bytes
}
