package quantile

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// exact is the naive reference: the q-th of the sorted samples.
func exact(samples []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[int(math.Ceil(q*float64(len(sorted))))-1]
}

// within reports whether an estimate is one: at most 1/8 too high, at most the
// microsecond that is the resolution too low.
func within(estimate, exact time.Duration) bool {
	return estimate > exact-time.Microsecond && float64(estimate) <= float64(max(exact, time.Microsecond))*9/8
}

func TestAccuracy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"constant":    func() float64 { return 5e6 },
		"uniform":     func() float64 { return r.Float64() * 1e8 },
		"exponential": func() float64 { return r.ExpFloat64() * 2e6 },
		"log-normal":  func() float64 { return math.Exp(r.NormFloat64()*2 + 14) },
		"two humps":   func() float64 { return 1e6 + 1e9*float64(r.IntN(2)) },
		"nanoseconds": func() float64 { return r.Float64() * 3e3 },
		"hours":       func() float64 { return r.Float64() * 5e13 },
	} {
		t.Run(name, func(t *testing.T) {
			var s Sketch
			var all []time.Duration
			for range 3000 {
				d := time.Duration(draw())
				all = append(all, d)
				s.Add(d, 1)
			}
			s.Add(all[0], int64(refresh)+1) // makes the estimate new
			all = append(all, all[0])
			if got, want := s.P50(), exact(all, 0.5); !within(got, want) {
				t.Errorf("p50 %v, exactly %v", got, want)
			}
			if got, want := s.P95(), exact(all, 0.95); !within(got, want) {
				t.Errorf("p95 %v, want %v", got, want)
			}
			if got, want := s.P99(), exact(all, 0.99); !within(got, want) {
				t.Errorf("p99 %v, exactly %v", got, want)
			}
			if got := s.Samples(); got != int64(len(all)) {
				t.Errorf("%d samples of %d", got, len(all))
			}
		})
	}
}

// FuzzBuckets: every latency lies in a bucket whose upper bound is at most 1/8 above it.
func FuzzBuckets(f *testing.F) {
	for _, d := range []int64{0, 1, 999, 1000, 7999, 8000, 1e6, 1e9, 6e13, math.MaxInt64, -1} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		d := time.Duration(n)
		if largest := upper(buckets - 1); d > largest {
			d = largest
		}
		if u := upper(bucket(d)); !within(u, max(d, 0)) {
			t.Errorf("%v is in the bucket up to %v", d, u)
		}
	})
}

// TestWindow: what is older than the window is forgotten, and a quiet method forgets
// nothing.
func TestWindow(t *testing.T) {
	var s Sketch
	now := int64(1)
	fill := func(d time.Duration, seconds, rate int) {
		for range seconds * rate {
			now += int64(time.Second) / int64(rate)
			s.Add(d, now)
		}
	}
	fill(time.Second, 30, 100)
	if p := s.P99(); !within(p, time.Second) {
		t.Fatalf("p99 of constant 1s: %v", p)
	}
	fill(time.Millisecond, 9, 100)
	if p := s.P99(); !within(p, time.Second) {
		t.Errorf("9 s later the p99 is %v: half of the window is always remembered", p)
	}
	fill(time.Millisecond, 12, 100)
	if p := s.P99(); !within(p, time.Millisecond) {
		t.Errorf("21 s later the p99 is %v: the window is %v", p, Window)
	}
	if n := s.Samples(); n < 1000 || n > 2000 {
		t.Errorf("%d samples at 100 a second: want 10 to 20 seconds' worth", n)
	}
	now += int64(time.Hour)
	if p, n := s.P99(), s.Samples(); !within(p, time.Millisecond) || n < 1000 {
		t.Errorf("after an hour without a call: p99 %v of %d samples", p, n)
	}
}

// TestQuietMethod: one call in ten seconds is enough to have an estimate, for ever.
func TestQuietMethod(t *testing.T) {
	var s Sketch
	for n := range int64(1000) {
		s.Add(time.Millisecond, 1+n*int64(10*time.Second))
		if s.P99() == 0 || s.Samples() < min(n+1, rotateAt) {
			t.Fatalf("after %d calls: p99 %v of %d samples", n+1, s.P99(), s.Samples())
		}
	}
}

func TestZeroValue(t *testing.T) {
	var s Sketch
	if s.P50() != 0 || s.P99() != 0 || s.Samples() != 0 {
		t.Errorf("nothing measured, and p50 %v, p99 %v of %d", s.P50(), s.P99(), s.Samples())
	}
}

// TestConcurrentAdd: many goroutines over many windows leave an estimate within the
// range of what was added.
func TestConcurrentAdd(t *testing.T) {
	var s Sketch
	var adders sync.WaitGroup
	for g := range 8 {
		adders.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for n := range int64(5000) {
				s.Add(time.Millisecond+time.Duration(r.IntN(int(time.Millisecond))), 1+n*int64(20*time.Millisecond))
				if p50, p99 := s.P50(), s.P99(); p50 < 0 || p99 > 2*time.Millisecond*9/8 {
					t.Errorf("p50 %v, p99 %v of samples between 1ms and 2ms", p50, p99)
					return
				}
			}
		})
	}
	adders.Wait()
	if p := s.P50(); p < time.Millisecond || p > 2*time.Millisecond {
		t.Errorf("p50 %v of samples evenly between 1ms and 2ms", p)
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	var s Sketch
	now := int64(1)
	if n := testing.AllocsPerRun(1000, func() {
		now += int64(60 * time.Millisecond)
		s.Add(time.Millisecond, now)
	}); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var s Sketch
	b.ReportAllocs()
	for now := int64(1); b.Loop(); now += int64(100 * time.Microsecond) {
		s.Add(time.Millisecond, now)
	}
}
