package once

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// MemoryPolicy bounds a [Memory]. The zero value is the documented default, and so is
// each zero field.
type MemoryPolicy struct {
	// TTL is how long a record is kept after it was last written. Default 10 min.
	TTL time.Duration

	// Keep is how long a record is kept in any case. A store that is full gives up the
	// oldest; if that one is younger than Keep, it refuses to take more. Choose it longer
	// than callers go on repeating a call, which is their longest deadline, and at least
	// twice [Policy].Lease. At most TTL. Default 10 s (twice the default deadline of a
	// call), or TTL if that is less.
	Keep time.Duration

	// MaxRecords bounds the number of records. Default 200,000, at Keep's default good
	// for 20,000 calls per second.
	MaxRecords int

	// MaxBytes bounds their size: keys, values, and 250 bytes for each. Default 64 MiB.
	MaxBytes int
}

// WithDefaults returns p with every zero field replaced by its default.
func (p MemoryPolicy) WithDefaults() MemoryPolicy {
	p.TTL = cmp.Or(p.TTL, 10*time.Minute)
	p.Keep = cmp.Or(p.Keep, min(10*time.Second, p.TTL))
	p.MaxRecords = cmp.Or(p.MaxRecords, 200_000)
	p.MaxBytes = cmp.Or(p.MaxBytes, 64<<20)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p MemoryPolicy) Validate() error {
	p = p.WithDefaults()
	var errs []error
	if p.TTL < 0 {
		errs = append(errs, fmt.Errorf("lifecycle/once: MemoryPolicy.TTL %v: want more than 0", p.TTL))
	}
	if p.Keep < 0 || p.Keep > p.TTL {
		errs = append(errs, fmt.Errorf("lifecycle/once: MemoryPolicy.Keep %v: want more than 0, and at most TTL, which is %v", p.Keep, p.TTL))
	}
	if p.MaxRecords < 0 {
		errs = append(errs, fmt.Errorf("lifecycle/once: MemoryPolicy.MaxRecords %d: want at least 1", p.MaxRecords))
	}
	if p.MaxBytes < recordCost {
		errs = append(errs, fmt.Errorf("lifecycle/once: MemoryPolicy.MaxBytes %d: want at least %d", p.MaxBytes, recordCost))
	}
	return errors.Join(errs...)
}

// Memory is a [Store] inside the process, for services of one instance, for tests, and
// for several servers in one process. It has no goroutine and nothing to close: what has
// expired makes room when something is written.
type Memory struct {
	policy MemoryPolicy

	mu      sync.Mutex
	records map[string]*record
	written list.List // of *record, the one last written at the back
	version uint64    // the last one given
	status  MemoryStatus
}

// NewMemory returns an empty store.
func NewMemory(p MemoryPolicy) (*Memory, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &Memory{policy: p.WithDefaults(), records: make(map[string]*record)}, nil
}

// Put implements [Store]. It fails only if the store is full.
func (m *Memory) Put(_ context.Context, key string, version uint64, value []byte) (Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.put(key, version, value, time.Now())
}

// Wait implements [Store].
func (m *Memory) Wait(ctx context.Context, key string, version uint64) (Record, error) {
	for {
		m.mu.Lock()
		now, changed := m.look(key, version, time.Now())
		m.mu.Unlock()
		if changed == nil {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Record{}, ctx.Err()
		}
	}
}

// Keeps implements [Keeper]: it is Keep.
func (m *Memory) Keeps() time.Duration { return m.policy.Keep }

// MemoryStatus is what a [Memory] holds.
type MemoryStatus struct {
	Records int    // of calls, begun or answered
	Bytes   int    // as MaxBytes counts them
	GivenUp uint64 // records given up before their TTL, for others
	Refused uint64 // writes refused, since the store was full
}

// Status returns how the store stands. What has expired counts until its room is needed.
func (m *Memory) Status() MemoryStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}
