package replay

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

const (
	get    = "/orders.v1.Orders/Get"
	cancel = "/orders.v1.Orders/Cancel"
	place  = "/orders.v1.Orders/Place"
)

var all = Methods{SideEffects: []string{"*"}}

func seeded() func() float64 { return rand.New(rand.NewPCG(1, 2)).Float64 }

func held(t testing.TB, s *Sampler) []Record {
	t.Helper()
	var b bytes.Buffer
	n, err := s.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v, want %d", n, err, b.Len())
	}
	records, err := readAll(&b)
	if err != io.EOF {
		t.Fatal(err)
	}
	return records
}

func TestTheFirstRequestsOfAMethodAreWantedThenARatio(t *testing.T) {
	s := NewSampler(Limits{Ratio: 0.1, PerMethod: 20, MaxBytes: 1 << 20}, Methods{}, seeded())
	for n := range 20 {
		if !s.Wants(get) {
			t.Fatalf("request %d is not wanted, want the first 20", n)
		}
	}
	wanted := 0
	for range 10_000 {
		if s.Wants(get) {
			wanted++
		}
	}
	if wanted < 900 || wanted > 1100 {
		t.Errorf("%d of 10,000 wanted, want about 1,000", wanted)
	}
	if s.Wants(cancel) {
		t.Error("a method with side effects is wanted")
	}
}

// A server warms up before its first caller comes: replays must not use up what is
// wanted of the callers.
func TestWhatWasNoRequestIsMadeUpFor(t *testing.T) {
	s := NewSampler(Limits{Ratio: 0, PerMethod: 5, MaxBytes: 1 << 20}, Methods{}, seeded())
	for range 5 {
		s.Wants(get)
		s.PassOver(get)
	}
	wanted := 0
	for range 10 {
		if s.Wants(get) {
			wanted++
		}
	}
	if wanted != 5 {
		t.Errorf("%d wanted, want 5", wanted)
	}
}

func TestEachMethodKeepsItsShareAndTheNewestGoIn(t *testing.T) {
	s := NewSampler(Limits{Ratio: 1, PerMethod: 10, MaxBytes: 1 << 20}, all, seeded())
	s.Keep(cancel, []byte("rare"))
	for n := range 1000 {
		s.Keep(get, fmt.Append(nil, n))
	}
	count, newest := map[string]int{}, false
	for _, r := range held(t, s) {
		count[r.Method]++
		newest = newest || string(r.Message) == "999"
	}
	if count[get] != 10 || count[cancel] != 1 {
		t.Errorf("held %v, want 10 of Get and 1 of Cancel", count)
	}
	if !newest {
		t.Error("the last request is not held")
	}
}

func TestMaxBytesHoldsAndTheHeaviestGives(t *testing.T) {
	s := NewSampler(Limits{Ratio: 1, PerMethod: 1000, MaxBytes: 10_000}, all, seeded())
	for n := range 20 {
		s.Keep(cancel, fmt.Append(nil, n))
	}
	for range 200 {
		s.Keep(get, make([]byte, 500))
	}
	records, size := held(t, s), 0
	count := map[string]int{}
	for _, r := range records {
		count[r.Method]++
		size += FrameSize(len(r.Method), len(r.Message))
	}
	if n, claimed, _ := s.Count(); n != len(records) || claimed != size || size > 10_000 {
		t.Errorf("holds %d records of %d bytes and says %d of %d, want at most 10,000", len(records), size, n, claimed)
	}
	if count[cancel] != 20 || count[get] < 15 {
		t.Errorf("held %v, want 20 of Cancel and the rest of Get", count)
	}
}

// What is cut off has the same number of each method.
func TestMethodsTakeTurns(t *testing.T) {
	s := NewSampler(Limits{Ratio: 1, PerMethod: 10, MaxBytes: 1 << 20}, all, seeded())
	for range 3 {
		s.Keep(get, nil)
		s.Keep(place, nil)
	}
	s.Keep(cancel, nil)
	var got []string
	for _, r := range held(t, s) {
		got = append(got, r.Method)
	}
	if want := []string{cancel, get, place, get, place, get, place}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("written in the order %v, want %v", got, want)
	}
}

// The sampler against a naive one: whatever comes, its sums are those of what it holds
// and its bounds hold.
func FuzzSampler(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 255, 0, 9}, uint8(3), uint16(300))
	f.Fuzz(func(t *testing.T, ops []byte, perMethod uint8, maxBytes uint16) {
		limits := Limits{Ratio: 0.5, PerMethod: int(perMethod) + 1, MaxBytes: int(maxBytes) + FrameSize(len(cancel), 255)}
		s := NewSampler(limits, all, seeded())
		methods := []string{get, cancel, place}
		for n, op := range ops {
			if m := methods[n%3]; s.Wants(m) {
				s.Keep(m, make([]byte, op))
			}
		}
		size, count := 0, map[string]int{}
		for _, r := range held(t, s) {
			size += FrameSize(len(r.Method), len(r.Message))
			count[r.Method]++
			if count[r.Method] > limits.PerMethod {
				t.Fatalf("%d records of %s, want at most %d", count[r.Method], r.Method, limits.PerMethod)
			}
		}
		if _, claimed, _ := s.Count(); claimed != size || size > limits.MaxBytes {
			t.Fatalf("holds %d bytes, says %d, want at most %d", size, claimed, limits.MaxBytes)
		}
	})
}

func TestSamplerIsSafeForConcurrentUse(t *testing.T) {
	s := NewSampler(Limits{Ratio: 0.5, PerMethod: 5, MaxBytes: 2000}, all, rand.Float64)
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for n := range 500 {
				m := fmt.Sprintf("/s/M%d", n%7)
				if s.Wants(m) {
					s.Keep(m, make([]byte, n%100))
				}
			}
		})
	}
	users.Go(func() {
		for range 20 {
			if _, err := s.WriteTo(io.Discard); err != nil {
				t.Error(err)
			}
		}
	})
	users.Wait()
	if _, size, _ := s.Count(); size > 2000 {
		t.Errorf("holds %d bytes, want at most 2,000", size)
	}
}

func TestNotSampledCostsNoAllocation(t *testing.T) {
	s := NewSampler(Limits{Ratio: 0, PerMethod: 1, MaxBytes: 1 << 10}, Methods{}, rand.Float64)
	s.Wants(get)
	if n := testing.AllocsPerRun(100, func() { s.Wants(get); s.Wants(cancel) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkWantsNot(b *testing.B) {
	s := NewSampler(Limits{Ratio: 0.001, PerMethod: 1, MaxBytes: 1 << 10}, Methods{}, rand.Float64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Wants(get)
		}
	})
}
