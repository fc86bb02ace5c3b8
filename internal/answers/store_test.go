package answers

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

// naive is a part of a store that is slow and simple: answers in the order of their last use.
type naive struct {
	maxBytes int
	keys     []string
	answers  map[string]*Answer
}

func (n *naive) remove(key string) {
	n.keys = slices.DeleteFunc(n.keys, func(k string) bool { return k == key })
	delete(n.answers, key)
}

func (n *naive) put(key string, a *Answer) {
	if old := n.answers[key]; old != nil && old.Began.After(a.Began) {
		return
	}
	n.remove(key)
	if cost(key, a) > n.maxBytes {
		return
	}
	n.keys, n.answers[key] = append(n.keys, key), a
	for n.bytes() > n.maxBytes || a.Came.After(n.answers[n.keys[0]].Until) {
		n.remove(n.keys[0])
	}
}

func (n *naive) get(key string, most time.Duration, now time.Time) *Answer {
	a := n.answers[key]
	if a == nil {
		return nil
	}
	n.remove(key)
	if now.After(a.Until) {
		return nil
	}
	n.keys, n.answers[key] = append(n.keys, key), a
	if a.Gone || a.Age(now) > most {
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

// A part does what the naive one does.
func TestPartModel(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		bytes := 1 + random.IntN(8000)
		p := &part[int]{}
		n := &naive{maxBytes: bytes, answers: map[string]*Answer{}}
		now := time.Unix(1e9, 0)
		for step := range 2000 {
			key := fmt.Sprint(random.IntN(30))
			switch random.IntN(10) {
			case 0, 1, 2, 3:
				a := &Answer{Began: now.Add(-time.Duration(random.IntN(2000))), Came: now, Until: now.Add(4000)}
				if a.Gone = random.IntN(4) == 0; !a.Gone {
					a.Wire = make([]byte, random.IntN(1+random.IntN(3000)))
				}
				p.put(key, a, bytes)
				n.put(key, a)
			case 4:
				now = now.Add(time.Duration(random.IntN(1000)))
			default:
				most := time.Duration(random.IntN(5000))
				if got, want := p.get(key, most, now), n.get(key, most, now); got != want {
					t.Fatalf("seed %d, step %d: get(%s): %v, want %v", seed, step, key, got, want)
				}
			}
			if p.answers != nil && (p.answers.Len() != len(n.keys) || p.bytes != n.bytes() || p.bytes > bytes) {
				t.Fatalf("seed %d, step %d: %d answers of %d bytes: want %d of %d, at most %d",
					seed, step, p.answers.Len(), p.bytes, len(n.keys), n.bytes(), bytes)
			}
		}
	}
}

// size returns how many answers there are, and their cost.
func size(s *Store[int]) (entries, bytes int) {
	for n := range s.parts {
		p := &s.parts[n]
		p.mu.Lock()
		if p.answers != nil {
			entries, bytes = entries+p.answers.Len(), bytes+p.bytes
		}
		p.mu.Unlock()
	}
	return entries, bytes
}

// The bound holds whoever writes.
func TestStoreBounds(t *testing.T) {
	const bytes = 16 << 20
	s := New[int]()
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 0))
			for range 300 {
				key, now := fmt.Sprint(random.IntN(4000)), time.Now()
				s.Put(key, &Answer{Wire: make([]byte, random.IntN(40_000)), Began: now, Came: now, Until: now.Add(time.Hour)}, bytes)
				s.Get(key, time.Hour, now)
				if _, b := size(s); b > bytes {
					t.Errorf("%d bytes: want at most %d", b, bytes)
					return
				}
			}
		})
	}
	all.Wait()
	if _, b := size(s); b < bytes/2 {
		t.Errorf("%d bytes: want the store full", b)
	}
	now := time.Now()
	large := &Answer{Wire: make([]byte, bytes/parts), Came: now, Until: now}
	if s.Put("large", large, bytes); s.Get("large", time.Hour, now) != nil {
		t.Error("an answer larger than its part's bytes was kept")
	}
	for n := range 1000 { // some in each part
		s.Put(fmt.Sprint(n), &Answer{Began: now, Came: now, Until: now.Add(time.Hour)}, bytes/100)
	}
	if _, b := size(s); b > bytes/100 {
		t.Errorf("%d bytes: want the new bound to hold, %d", b, bytes/100)
	}
	if s.Clear(); s.Get("999", time.Hour, now) != nil {
		t.Error("an answer outlived Clear")
	}
	if n, b := size(s); n != 0 || b != 0 {
		t.Errorf("%d answers of %d bytes after Clear", n, b)
	}
}

// What is past its time is freed when it is asked for, or when another comes.
func TestStoreFreesByTime(t *testing.T) {
	s, now := New[int](), time.Unix(1e9, 0)
	put := func(n int, now time.Time) {
		s.Put(fmt.Sprint(n), &Answer{Began: now, Came: now, Until: now.Add(time.Minute)}, 1<<20)
	}
	put(0, now)
	if s.Get("0", time.Hour, now.Add(time.Minute)) == nil {
		t.Error("it went too early")
	}
	s.Get("0", time.Hour, now.Add(time.Minute+1))
	if n, _ := size(s); n != 0 {
		t.Errorf("%d are kept after one was asked for past its time", n)
	}
	for n := range 1000 {
		put(n, now)
	}
	for n := range 1000 {
		put(1000+n, now.Add(time.Hour))
	}
	if n, _ := size(s); n != 1000 {
		t.Errorf("%d are kept: want the last 1,000", n)
	}
}

// An answer replaces only what was asked before it; so does the mark that there is none.
func TestYoungerStays(t *testing.T) {
	s, now := New[int](), time.Unix(1e9, 0)
	at := func(ms int, gone bool) *Answer {
		a := &Answer{Began: now.Add(time.Duration(ms) * time.Millisecond), Came: now.Add(time.Second), Until: now.Add(time.Hour), Gone: gone}
		s.Put("key", a, 1<<20)
		return a
	}
	get := func() *Answer { return s.Get("key", time.Hour, now.Add(time.Second)) }
	second := at(2, false)
	if at(1, false); get() != second {
		t.Error("an older answer replaced a younger one")
	}
	if at(1, true); get() != second {
		t.Error("an answer was taken back by what was asked before it")
	}
	at(4, true)
	if at(3, false); get() != nil {
		t.Error("an answer came back that had been taken back")
	}
	if fifth := at(5, false); get() != fifth {
		t.Error("what was answered later is not kept")
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
	s, now := New[int](), time.Now()
	for k := range n {
		s.Put(strings.Clone(fmt.Sprintf("key %28d", k)), &Answer{Wire: make([]byte, 64), Began: now, Came: now, Until: now}, 1<<30)
	}
	took := heap() - before
	entries, said := size(s)
	t.Logf("%d answers take %d bytes each beside their own: %d are counted", entries, (took-n*96)/n, overhead)
	if entries != n || took > said*5/4 {
		t.Errorf("%d answers take %d bytes: %d are said", entries, took, said)
	}
}

// Of those who wish the same one leads, and the others get what it brings.
func TestFlight(t *testing.T) {
	s, now := New[int](), time.Now()
	w := Wish{Key: "key"}
	_, f, led := s.Enter(w, time.Hour, now)
	if !led {
		t.Fatal("the first does not lead")
	}
	for name, other := range map[string]Wish{
		"key": {Key: "other"}, "priority": {Key: "key", Priority: 1}, "waits": {Key: "key", Waits: true}, "elsewhere": {Key: "key", Elsewhere: true},
	} {
		if _, _, led := s.Enter(other, time.Hour, now); !led {
			t.Errorf("another %s waits for what it does not wish", name)
		}
	}
	_, same, led := s.Enter(w, time.Hour, now)
	if led || same != f {
		t.Fatal("the second does not wait")
	}
	f.Brought = 7
	s.Land(w, f)
	if <-same.Done(); same.Brought != 7 {
		t.Errorf("brought %d", same.Brought)
	}
	if _, _, led := s.Enter(w, time.Hour, now); !led {
		t.Error("a flight that has landed is waited for")
	}
	a := &Answer{Came: now, Until: now.Add(time.Hour)}
	s.Put("key", a, 1<<20)
	if got, _, _ := s.Enter(w, time.Hour, now); got != a {
		t.Error("asked although there is an answer")
	}
}
