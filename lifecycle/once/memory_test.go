package once_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/lifecycle/once"
	"github.com/surecall/surecall/lifecycle/once/oncetest"
)

func newMemory(t testing.TB, p once.MemoryPolicy) *once.Memory {
	t.Helper()
	m, err := once.NewMemory(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMemory(t *testing.T) {
	oncetest.Run(t, newMemory(t, once.MemoryPolicy{}))
}

// A record is there for its TTL after each write, and who waits is told that it is gone
// when something is written.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, once.MemoryPolicy{TTL: time.Minute, MaxRecords: 10})
		first, _, _ := m.Put(t.Context(), "a", 0, nil)
		time.Sleep(59 * time.Second)
		second, written, _ := m.Put(t.Context(), "a", first.Version, nil)
		if !written {
			t.Fatal("gone too early")
		}
		waited := make(chan once.Record)
		go func() {
			now, _ := m.Wait(t.Context(), "a", second.Version)
			waited <- now
		}()
		time.Sleep(59 * time.Second)
		if _, written, _ := m.Put(t.Context(), "a", 0, nil); written {
			t.Error("gone too early")
		}
		time.Sleep(time.Second)
		if now, written, _ := m.Put(t.Context(), "a", second.Version, nil); written || now.Version != 0 {
			t.Errorf("there after its TTL: %+v", now)
		}
		if now := <-waited; now.Version != 0 {
			t.Errorf("waited for %+v", now)
		}
		if s := m.Status(); s != (once.MemoryStatus{}) {
			t.Errorf("holds %+v", s)
		}
	})
}

// A full store gives up the oldest, but none that is younger than Keep.
func TestFull(t *testing.T) {
	for name, policy := range map[string]once.MemoryPolicy{
		"records": {MaxRecords: 10, Keep: time.Second},
		"bytes":   {MaxBytes: 10 * 260, Keep: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, policy)
				put := func(key string, version uint64) (once.Record, bool, error) {
					return m.Put(t.Context(), key, version, make([]byte, 10-len(key)))
				}
				var versions [11]uint64
				for n := range 10 {
					now, written, err := put(fmt.Sprint(n), 0)
					if !written || err != nil {
						t.Fatalf("%d: %v, %v", n, written, err)
					}
					versions[n] = now.Version
					time.Sleep(time.Millisecond)
				}
				if _, written, err := put("10", 0); written || err == nil || !strings.Contains(err.Error(), "1s") {
					t.Errorf("one too many: written %v, error %v", written, err)
				}
				if _, written, err := put("0", versions[0]); !written || err != nil {
					t.Errorf("replacing one in place: %v, %v", written, err)
				}
				time.Sleep(time.Second - 9*time.Millisecond) // now "1" is of age, and "0" is not
				if _, written, err := put("10", 0); !written || err != nil {
					t.Errorf("with one of age: %v, %v", written, err)
				}
				if now, written, _ := put("1", versions[1]); written || now.Version != 0 {
					t.Error("the oldest is still there")
				}
				if s := m.Status(); s.Records != 10 || s.Bytes > 10*260 || s.GivenUp != 1 || s.Refused != 1 {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// A record that grows makes others go, and not itself, however old it is.
func TestGrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, once.MemoryPolicy{MaxBytes: 1000, Keep: time.Second})
		versions := map[string]uint64{}
		for _, key := range []string{"a", "b", "c"} {
			now, _, err := m.Put(t.Context(), key, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			versions[key] = now.Version
		}
		time.Sleep(time.Second) // all of age
		if _, written, err := m.Put(t.Context(), "a", versions["a"], make([]byte, 400)); !written || err != nil {
			t.Errorf("written %v, %v", written, err)
		}
		for _, key := range []string{"a", "c"} {
			if now, err := m.Wait(t.Context(), key, 99); now.Version == 0 || err != nil {
				t.Errorf("%s is gone", key)
			}
		}
		if s := m.Status(); s.Records != 2 || s.GivenUp != 1 {
			t.Errorf("%+v, want a and c", s)
		}
		if _, written, err := m.Put(t.Context(), "c", versions["c"], make([]byte, 700)); written || err == nil {
			t.Error("a is young, and c cannot grow at its cost")
		}
	})
}

// One bound is for all records together: of 150 replies of the default MaxReply, which
// are 38 of 64 MiB, some were refused, and one above 1 MiB always.
func TestBoundsAreForAll(t *testing.T) {
	m := newMemory(t, once.MemoryPolicy{})
	for n := range 150 {
		key := fmt.Sprint("/s/m/", n)
		now, _, _ := m.Put(t.Context(), key, 0, []byte("running"))
		if _, written, err := m.Put(t.Context(), key, now.Version, make([]byte, 256<<10)); !written || err != nil {
			t.Fatalf("reply %d: written %v, %v", n, written, err)
		}
	}
	if _, written, err := m.Put(t.Context(), "large", 0, make([]byte, 16<<20)); !written || err != nil {
		t.Errorf("a large one: written %v, %v", written, err)
	}
}

// A value that has no room at all is refused, and nothing is given up in vain for ever.
func TestTooLarge(t *testing.T) {
	m := newMemory(t, once.MemoryPolicy{MaxBytes: 1000})
	if _, written, err := m.Put(t.Context(), "a", 0, make([]byte, 1000)); written || err == nil {
		t.Errorf("written %v, %v", written, err)
	}
	now, _, _ := m.Put(t.Context(), "a", 0, nil)
	if _, written, err := m.Put(t.Context(), "a", now.Version, make([]byte, 1000)); written || err == nil {
		t.Errorf("in place: written %v, %v", written, err)
	}
	if s := m.Status(); s.Records != 1 {
		t.Errorf("status %+v", s)
	}
}

// FuzzMemory compares a small store with a map, in any order of writes and pauses.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x40, 0x81, 0xc2, 0xff, 0, 1, 2})
	f.Fuzz(func(t *testing.T, ops []byte) {
		synctest.Test(t, func(t *testing.T) {
			const ttl, bound = time.Minute, 8
			m := newMemory(t, once.MemoryPolicy{TTL: ttl, Keep: 1, MaxRecords: bound})
			type modelled struct {
				version uint64
				at      time.Time
			}
			model := map[string]modelled{}
			for _, op := range ops {
				key, old := fmt.Sprint(op&0xf), modelled{}
				if op&0x80 != 0 {
					time.Sleep(time.Duration(op&0x7f) * time.Second)
				}
				time.Sleep(1) // so that no two are of one age
				if r, ok := model[key]; ok && time.Since(r.at) < ttl {
					old = r
				}
				ask := old.version
				if op&0x40 != 0 {
					ask++ // never the right one
				}
				now, written, err := m.Put(t.Context(), key, ask, []byte{op})
				if err != nil || written != (ask == old.version) || !written && now.Version != old.version {
					t.Fatalf("%s over %d: %+v, written %v, %v; there was %d", key, ask, now, written, err, old.version)
				}
				if !written {
					continue
				}
				model[key] = modelled{now.Version, time.Now()}
				for k, r := range model {
					if time.Since(r.at) >= ttl {
						delete(model, k)
					}
				}
				if len(model) > bound {
					oldest := key
					for k, r := range model {
						if r.at.Before(model[oldest].at) {
							oldest = k
						}
					}
					delete(model, oldest)
				}
				if s := m.Status(); s.Records != len(model) || s.Bytes > bound*300 {
					t.Fatalf("%+v, want %d records", s, len(model))
				}
			}
		})
	})
}

func TestPolicies(t *testing.T) {
	if err := (once.MemoryPolicy{TTL: -1, Keep: -1, MaxRecords: -1, MaxBytes: 1}).Validate(); err == nil {
		t.Error("no error")
	} else {
		for _, field := range []string{"TTL -1ns", "Keep -1ns", "MaxRecords -1", "MaxBytes 1"} {
			if !strings.Contains(err.Error(), field) {
				t.Errorf("%q is not in %v", field, err)
			}
		}
	}
	if err := (once.MemoryPolicy{Keep: time.Hour}).Validate(); err == nil {
		t.Error("Keep above TTL: no error")
	}
	if _, err := once.NewMemory(once.MemoryPolicy{TTL: -1}); err == nil {
		t.Error("NewMemory: no error")
	}
	if err := (once.Policy{Store: newMemory(t, once.MemoryPolicy{TTL: 3999 * time.Millisecond})}).Validate(); err == nil || !strings.Contains(err.Error(), "3.999s") {
		t.Errorf("a store that keeps a record for less than two leases: %v", err)
	}
	if err := (once.Policy{Store: newMemory(t, once.MemoryPolicy{TTL: time.Hour, Keep: time.Hour}), Lease: once.MaxLease + 1}).Validate(); err == nil || !strings.Contains(err.Error(), "Lease 1h0m0.000000001s") {
		t.Errorf("a lease that no reader would believe: %v", err)
	}
	err := once.Policy{Lease: time.Millisecond, MaxReply: 1 << 30, StoreTimeout: -1}.Validate()
	for _, field := range []string{"Store is nil", "Lease 1ms", "MaxReply 1073741824", "StoreTimeout -1ns"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%q is not in %v", field, err)
		}
	}
	if err := (once.Policy{Store: newMemory(t, once.MemoryPolicy{TTL: 4 * time.Second})}).Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

// BenchmarkMemory is what a store costs that is used by many at once and turns over.
func BenchmarkMemory(b *testing.B) {
	m := newMemory(b, once.MemoryPolicy{Keep: 1, MaxRecords: 100_000})
	value := make([]byte, 100)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			key := fmt.Sprint("/orders.v1.Orders/Place/", &n, n)
			now, _, _ := m.Put(context.Background(), key, 0, value)
			_, _, _ = m.Put(context.Background(), key, now.Version, value)
		}
	})
}
