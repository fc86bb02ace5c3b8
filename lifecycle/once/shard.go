package once

import (
	"container/list"
	"fmt"
	"sync"
	"time"
)

// recordCost is what a record takes beside its key and value: 204 bytes were measured
// at 150,000 records, map and list included, and a map may be half as full.
const recordCost = 250

// shard is a part of a [Memory] with bounds of its own.
type shard struct {
	ttl, keep            time.Duration
	maxRecords, maxBytes int

	mu      sync.Mutex
	records map[string]*record
	written list.List // of *record, the one last written at the back
	bytes   int
	version uint64 // the last one given
	givenUp uint64
	refused uint64
}

type record struct {
	Record
	key     string
	at      time.Time     // when it was last written
	place   *list.Element // in written
	changed chan struct{} // closed at the next change; nil while nobody waits
}

func (r *record) cost() int { return cost(r.key, r.Value) }

func cost(key string, value []byte) int { return len(key) + len(value) + recordCost }

// put is [Store.Put] at a time, which does not run backwards.
func (s *shard) put(key string, version uint64, value []byte, now time.Time) (Record, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	r := s.records[key]
	switch {
	case r == nil && version != 0:
		return Record{}, false, nil
	case r != nil && r.Version != version:
		return r.Record, false, nil
	}
	if err := s.makeRoom(r, cost(key, value), now); err != nil {
		s.refused++
		return Record{}, false, err
	}
	if r == nil {
		r = &record{key: key}
		r.place = s.written.PushBack(r)
		s.records[key] = r
	} else {
		s.bytes -= r.cost()
		s.written.MoveToBack(r.place)
		r.tell()
	}
	s.version++
	r.Record, r.at = Record{s.version, value}, now
	s.bytes += r.cost()
	return r.Record, true, nil
}

// look returns the record, or what is closed when its version is no longer that one.
func (s *shard) look(key string, version uint64, now time.Time) (Record, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	r := s.records[key]
	switch {
	case r == nil:
		return Record{}, nil
	case r.Version != version:
		return r.Record, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return Record{}, r.changed
}

func (s *shard) status() MemoryStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return MemoryStatus{Records: len(s.records), Bytes: s.bytes, GivenUp: s.givenUp, Refused: s.refused}
}

// expire drops what is too old. Each record is dropped once, so that a write pays for
// one on average.
func (s *shard) expire(now time.Time) {
	for r := s.oldest(); r != nil && now.Sub(r.at) >= s.ttl; r = s.oldest() {
		s.drop(r)
	}
}

// makeRoom gives up the oldest until there is room for a record of that cost, in place
// of the old one if that is not nil.
func (s *shard) makeRoom(old *record, cost int, now time.Time) error {
	if cost > s.maxBytes {
		return fmt.Errorf("lifecycle/once: a record of %d bytes: want at most %d, which is the bound of a part of the store", cost, s.maxBytes)
	}
	records := 1
	if old != nil {
		records, cost = 0, cost-old.cost()
	}
	for len(s.records)+records > s.maxRecords || s.bytes+cost > s.maxBytes {
		r := s.oldest()
		if r == nil || r == old || now.Sub(r.at) < s.keep {
			return fmt.Errorf("lifecycle/once: no room for %d bytes more: %d records of %d bytes are there, bounds are %d and %d, and none has been kept for %v",
				cost, len(s.records), s.bytes, s.maxRecords, s.maxBytes, s.keep)
		}
		s.drop(r)
		s.givenUp++
	}
	return nil
}

func (s *shard) oldest() *record {
	e := s.written.Front()
	if e == nil {
		return nil
	}
	return e.Value.(*record)
}

func (s *shard) drop(r *record) {
	s.written.Remove(r.place)
	delete(s.records, r.key)
	s.bytes -= r.cost()
	r.tell()
}

// tell wakes who waits for a change.
func (r *record) tell() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}
