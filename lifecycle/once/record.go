package once

import (
	"container/list"
	"fmt"
	"time"
)

// recordCost is what a record takes beside its key and value: 204 bytes were measured
// at 150,000 records, map and list included, and a map may be half as full.
const recordCost = 250

type record struct {
	Record
	key     string
	at      time.Time     // when it was last written
	place   *list.Element // in written
	changed chan struct{} // closed at the next change; nil while nobody waits
}

func (r *record) cost() int { return cost(r.key, r.Value) }

func cost(key string, value []byte) int { return len(key) + len(value) + recordCost }

// put is [Store.Put] at a time, which does not run backwards. It requires mu, as does all
// that follows.
func (m *Memory) put(key string, version uint64, value []byte, now time.Time) (Record, bool, error) {
	m.expire(now)
	r := m.records[key]
	switch {
	case r == nil && version != 0:
		return Record{}, false, nil
	case r != nil && r.Version != version:
		return r.Record, false, nil
	}
	if err := m.makeRoom(r, cost(key, value), now); err != nil {
		m.status.Refused++
		return Record{}, false, err
	}
	if r == nil {
		r = &record{key: key}
		r.place = m.written.PushBack(r)
		m.records[key] = r
		m.status.Records++
	} else {
		m.status.Bytes -= r.cost()
		m.written.MoveToBack(r.place)
		r.tell()
	}
	m.version++
	r.Record, r.at = Record{m.version, value}, now
	m.status.Bytes += r.cost()
	return r.Record, true, nil
}

// look returns the record, or what is closed when its version is no longer that one.
func (m *Memory) look(key string, version uint64, now time.Time) (Record, <-chan struct{}) {
	m.expire(now)
	r := m.records[key]
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

// expire drops what is too old. Each record is dropped once, so that a write pays for
// one on average.
func (m *Memory) expire(now time.Time) {
	for r := m.oldest(nil); r != nil && now.Sub(r.at) >= m.policy.TTL; r = m.oldest(nil) {
		m.drop(r)
	}
}

// makeRoom gives up the oldest until there is room for a record of that cost, in place
// of the old one if that is not nil.
func (m *Memory) makeRoom(old *record, cost int, now time.Time) error {
	p, s := &m.policy, &m.status
	if cost > p.MaxBytes {
		return fmt.Errorf("lifecycle/once: a record of %d bytes: want at most %d, which is MemoryPolicy.MaxBytes", cost, p.MaxBytes)
	}
	records := 1
	if old != nil {
		records, cost = 0, cost-old.cost()
	}
	for s.Records+records > p.MaxRecords || s.Bytes+cost > p.MaxBytes {
		r := m.oldest(old)
		if r == nil || now.Sub(r.at) < p.Keep {
			return fmt.Errorf("lifecycle/once: no room for %d bytes more: %d records of %d bytes are there, bounds are %d and %d, and none has been kept for %v",
				cost, s.Records, s.Bytes, p.MaxRecords, p.MaxBytes, p.Keep)
		}
		m.drop(r)
		s.GivenUp++
	}
	return nil
}

// oldest returns the record that was last written before all others but one.
func (m *Memory) oldest(but *record) *record {
	e := m.written.Front()
	if e != nil && e.Value == but {
		e = e.Next()
	}
	if e == nil {
		return nil
	}
	return e.Value.(*record)
}

func (m *Memory) drop(r *record) {
	m.written.Remove(r.place)
	delete(m.records, r.key)
	m.status.Records--
	m.status.Bytes -= r.cost()
	r.tell()
}

// tell wakes who waits for a change.
func (r *record) tell() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}
