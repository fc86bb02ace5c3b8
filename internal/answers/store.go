package answers

import (
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Answer is a reply as it came over the wire: its size is known, and whoever gets it makes
// a message of its own from it. It is never changed, so that it is read without a lock.
type Answer struct {
	Wire  []byte
	Began time.Time // the call that brought it
	Came  time.Time
	Until time.Time // the last moment at which it is of use
	Gone  bool      // the service took back what it had answered; there is no Wire
}

// Age returns how old a is.
func (a *Answer) Age(now time.Time) time.Duration { return max(0, now.Sub(a.Came)) }

const (
	parts = 16
	// overhead is what an answer takes beside its bytes and those of its key, in bytes:
	// measured at 227 (TestStoreMemory), and more while the map grows.
	overhead = 250
)

func cost(key string, a *Answer) int { return len(key) + len(a.Wire) + overhead }

// Store keeps answers, and the flights that bring some. R is what those bring. It is safe
// for concurrent use, and takes no memory to speak of before the first answer.
type Store[R any] struct {
	seed  maphash.Seed
	parts [parts]part[R]
}

// New returns an empty store.
func New[R any]() *Store[R] { return &Store[R]{seed: maphash.MakeSeed()} }

// Get returns the answer to key, if there is one that is not older than most.
func (s *Store[R]) Get(key string, most time.Duration, now time.Time) *Answer {
	p := s.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.get(key, most, now)
}

// Put keeps a as the answer to key, if it fits and there is no younger one. maxBytes bounds
// the store, all keys and answers together.
func (s *Store[R]) Put(key string, a *Answer, maxBytes int) {
	p := s.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(key, a, maxBytes/parts)
}

// Clear forgets all answers.
func (s *Store[R]) Clear() {
	for n := range s.parts {
		p := &s.parts[n]
		p.mu.Lock()
		p.answers, p.bytes = nil, 0
		p.mu.Unlock()
	}
}

func (s *Store[R]) part(key string) *part[R] { return &s.parts[maphash.String(s.seed, key)%parts] }

// part is a part of a store, with the keys whose hash falls into it.
type part[R any] struct {
	mu      sync.Mutex
	answers *simplelru.LRU[string, *Answer] // nil: none yet
	bytes   int                             // of all answers, by cost
	flights map[Wish]*Flight[R]
}

func (p *part[R]) get(key string, most time.Duration, now time.Time) *Answer {
	if p.answers == nil {
		return nil
	}
	a, ok := p.answers.Get(key)
	switch {
	case !ok:
		return nil
	case now.After(a.Until):
		p.remove(key)
		return nil
	case a.Gone || a.Age(now) > most:
		return nil
	}
	return a
}

func (p *part[R]) put(key string, a *Answer, maxBytes int) {
	if p.answers == nil {
		p.answers, _ = simplelru.NewLRU[string, *Answer](math.MaxInt, nil) // fails only for a size below 1
	}
	if old, ok := p.answers.Peek(key); ok && old.Began.After(a.Began) {
		return
	}
	p.remove(key)
	if cost(key, a) > maxBytes {
		return
	}
	p.answers.Add(key, a)
	p.bytes += cost(key, a)
	for {
		oldest, b, _ := p.answers.GetOldest()
		if p.bytes <= maxBytes && !a.Came.After(b.Until) {
			return
		}
		p.remove(oldest)
	}
}

func (p *part[R]) remove(key string) {
	if a, ok := p.answers.Peek(key); ok {
		p.answers.Remove(key)
		p.bytes -= cost(key, a)
	}
}
