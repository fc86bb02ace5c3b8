package replay

import (
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Limits bound what a sampler keeps.
type Limits struct {
	Ratio     float64 // of a method's requests, after its first PerMethod
	PerMethod int     // records
	MaxBytes  int     // of the whole recording
}

// Sampler keeps requests of each method. It is safe for concurrent use.
//
// The first PerMethod requests of a method are all wanted, so that a rare method is not
// left out; then Ratio of them, each in the place of a random one before it. So the age of
// what is kept, counted in sampled requests, falls off exponentially, and a recording
// shows the traffic of late, however long the server has run. When MaxBytes is passed
// the method that holds most gives up random records.
type Sampler struct {
	limits  Limits
	methods Methods
	random  func() float64 // in [0, 1); safe for concurrent use

	shelves atomic.Pointer[map[string]*shelf] // copied to add: a server's methods are few

	mu    sync.Mutex // guards the records of all shelves, and the copying of the table
	bytes int
}

// shelf is what is kept of one method.
type shelf struct {
	use      Use
	early    atomic.Int64 // how many of its first requests were wanted
	messages [][]byte     // each is never changed, only replaced
	bytes    int
}

// NewSampler returns an empty sampler.
func NewSampler(l Limits, m Methods, random func() float64) *Sampler {
	s := &Sampler{limits: l, methods: m, random: random}
	s.shelves.Store(&map[string]*shelf{})
	return s
}

// Wants reports whether a request of a method that has just come is to be kept.
func (s *Sampler) Wants(method string) bool {
	sh := s.shelf(method)
	if sh.use != Take {
		return false
	}
	if most := int64(s.limits.PerMethod); sh.early.Load() < most && sh.early.Add(1) <= most {
		return true
	}
	return s.random() < s.limits.Ratio
}

// PassOver says that what Wants was asked about is no request of a caller: another is
// wanted in its place.
func (s *Sampler) PassOver(method string) {
	if sh := s.shelf(method); sh.early.Load() > 0 {
		sh.early.Add(-1)
	}
}

// Keep keeps a message, which must not change any more.
func (s *Sampler) Keep(method string, message []byte) {
	sh := s.shelf(method)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(sh.messages) < s.limits.PerMethod {
		sh.messages = append(sh.messages, message)
	} else {
		n := s.pick(sh)
		s.grow(sh, -frameSize(method, sh.messages[n]))
		sh.messages[n] = message
	}
	s.grow(sh, frameSize(method, message))
	for s.bytes > s.limits.MaxBytes {
		s.evict()
	}
}

// evict takes a random record from the method that holds most.
func (s *Sampler) evict() {
	var method string
	var heaviest *shelf
	for name, sh := range *s.shelves.Load() {
		if heaviest == nil || sh.bytes > heaviest.bytes {
			method, heaviest = name, sh
		}
	}
	n, last := s.pick(heaviest), len(heaviest.messages)-1
	s.grow(heaviest, -frameSize(method, heaviest.messages[n]))
	heaviest.messages[n] = heaviest.messages[last]
	heaviest.messages[last] = nil
	heaviest.messages = heaviest.messages[:last]
}

func (s *Sampler) pick(sh *shelf) int { return int(s.random() * float64(len(sh.messages))) }

func (s *Sampler) grow(sh *shelf, by int) {
	sh.bytes += by
	s.bytes += by
}

// shelf returns a method's, and makes it when the method is called for the first time.
func (s *Sampler) shelf(method string) *shelf {
	if sh := (*s.shelves.Load())[method]; sh != nil {
		return sh
	}
	use := s.methods.Of(method)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.shelves.Load()
	if sh := old[method]; sh != nil {
		return sh
	}
	table := maps.Clone(old)
	table[method] = &shelf{use: use}
	s.shelves.Store(&table)
	return table[method]
}

// Count returns how much is kept, and the methods that are not because of what Of
// says of them.
func (s *Sampler) Count() (records, bytes int, passed map[string]Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed = map[string]Use{}
	for method, sh := range *s.shelves.Load() {
		records += len(sh.messages)
		if sh.use != Take {
			passed[method] = sh.use
		}
	}
	return records, s.bytes, passed
}

// WriteTo writes what is kept as a recording, the methods in turn, so that of one that
// is cut off each method has its share. Requests that come meanwhile are not held up.
func (s *Sampler) WriteTo(w io.Writer) (int64, error) {
	counted := &counter{w: w}
	out := NewWriter(counted)
	for _, rec := range s.records() {
		if err := out.Write(rec); err != nil {
			return counted.n, err
		}
	}
	err := out.Close()
	return counted.n, err
}

func (s *Sampler) records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := *s.shelves.Load()
	methods := slices.Sorted(maps.Keys(table))
	var records []Record
	for n, more := 0, true; more; n++ {
		more = false
		for _, method := range methods {
			if kept := table[method].messages; n < len(kept) {
				records, more = append(records, Record{method, kept[n]}), true
			}
		}
	}
	return records
}

func frameSize(method string, message []byte) int { return FrameSize(len(method), len(message)) }

// FrameSize is how much of MaxBytes a record takes.
func FrameSize(method, message int) int { return prefix + 2 + method + message }

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
