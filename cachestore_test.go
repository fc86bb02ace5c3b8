package surecall

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// naive is a store that is slow and simple: answers in the order of their last use.
type naive struct {
	maxEntries, maxBytes int
	keys                 []string
	answers              map[string]*answer
}

func (n *naive) remove(key string) {
	n.keys = slices.DeleteFunc(n.keys, func(k string) bool { return k == key })
	delete(n.answers, key)
}

func (n *naive) put(key string, a *answer) {
	n.remove(key)
	if cost(key, a) > n.maxBytes {
		return
	}
	n.keys, n.answers[key] = append(n.keys, key), a
	for len(n.keys) > n.maxEntries || n.bytes() > n.maxBytes {
		n.remove(n.keys[0])
	}
}

func (n *naive) get(key string, most time.Duration, now time.Time) *answer {
	a := n.answers[key]
	if a == nil {
		return nil
	}
	n.remove(key)
	n.keys, n.answers[key] = append(n.keys, key), a
	if a.age(now) > most {
		return nil
	}
	return a
}

func (n *naive) bytes() int {
	total := 0
	for key, a := range n.answers {
		total += cost(key, a)
	}
	return total
}

// A store of one part does what the naive one does.
func TestStoreModel(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		entries, bytes := 1+random.IntN(20), 1+random.IntN(8000)
		s := newStore(entries, bytes)
		n := &naive{maxEntries: entries, maxBytes: bytes, answers: map[string]*answer{}}
		now := time.Unix(1e9, 0)
		for step := range 2000 {
			key := fmt.Sprint(random.IntN(30))
			switch random.IntN(10) {
			case 0:
				s.drop(key)
				n.remove(key)
			case 1, 2, 3:
				a := &answer{wire: make([]byte, random.IntN(1+random.IntN(3000))), came: now}
				s.put(key, a)
				n.put(key, a)
			case 4:
				now = now.Add(time.Duration(random.IntN(1000)))
			default:
				most := time.Duration(random.IntN(5000))
				if got, want := s.get(key, most, now), n.get(key, most, now); got != want {
					t.Fatalf("seed %d, step %d: get(%s): %v, want %v", seed, step, key, got, want)
				}
			}
			if e, b := s.size(); e != len(n.keys) || b != n.bytes() || e > entries || b > bytes {
				t.Fatalf("seed %d, step %d: %d answers of %d bytes: want %d of %d, at most %d of %d",
					seed, step, e, b, len(n.keys), n.bytes(), entries, bytes)
			}
		}
	}
}

// The bounds hold whoever writes, and in a store of many parts.
func TestStoreBounds(t *testing.T) {
	const entries, bytes = 2000, 16 << 20
	s := newStore(entries, bytes)
	if len(s.shards) != parts {
		t.Fatalf("%d parts: want %d", len(s.shards), parts)
	}
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 0))
			for range 300 {
				key := fmt.Sprint(random.IntN(4000))
				s.put(key, &answer{wire: make([]byte, random.IntN(40_000)), came: time.Now()})
				s.get(key, time.Hour, time.Now())
				if e, b := s.size(); e > entries || b > bytes {
					t.Errorf("%d answers of %d bytes: want at most %d of %d", e, b, entries, bytes)
					return
				}
				if random.IntN(10) == 0 {
					s.drop(key)
				}
			}
		})
	}
	all.Wait()
	if e, b := s.size(); e < entries/10 || b < bytes/2 {
		t.Errorf("%d answers of %d bytes: want the store full", e, b)
	}
	large := &answer{wire: make([]byte, bytes/parts), came: time.Now()}
	if s.put("large", large); s.get("large", time.Hour, time.Now()) != nil {
		t.Error("an answer larger than its part's bytes was kept")
	}
}

// What a store says that it takes is what it takes.
func TestStoreMemory(t *testing.T) {
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const n = 50_000
	before := heap()
	s := newStore(n*2, 1<<30)
	for k := range n {
		s.put(strings.Clone(fmt.Sprintf("key %28d", k)), &answer{wire: make([]byte, 64), came: time.Now()})
	}
	took := heap() - before
	entries, said := s.size()
	t.Logf("%d answers take %d bytes each beside their own: %d are counted", entries, (took-n*96)/n, overhead)
	if entries != n || took > said*5/4 {
		t.Errorf("%d answers take %d bytes: %d are said", entries, took, said)
	}
}

// A method remembers the stores of the policies that were used last, and no more.
func TestStoresAreFew(t *testing.T) {
	var s stores
	of := func(entries int) *store { return s.of(&CachePolicy{MaxEntries: entries, MaxBytes: 1}) }
	first := of(1)
	for entries := 2; entries <= 10; entries++ {
		of(entries)
		if of(1) != first || len(s.list) > maxStores {
			t.Fatalf("%d stores: want at most %d, the first among them, which is in use", len(s.list), maxStores)
		}
	}
	second := of(2)
	for entries := 11; entries < 11+maxStores; entries++ {
		of(entries)
	}
	if of(2) == second {
		t.Error("a store that nobody used was remembered")
	}
}
