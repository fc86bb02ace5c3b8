package limit

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10, 50, 1000} {
		for range 50 {
			var l latencies
			scale := math.Pow(10, 3.5+7*r.Float64()) // 3 µs to 30 s
			samples := make([]time.Duration, n)
			for i := range samples {
				samples[i] = time.Duration((1 + r.ExpFloat64()) * scale)
				l.add(samples[i])
			}
			slices.Sort(samples)
			low, high := float64(samples[(n-1)/2]), float64(samples[n/2])
			if got := float64(l.median()); got < low*7/8-1e3 || got > high*9/8+1e3 {
				t.Fatalf("median %v of %d: want %v to %v", time.Duration(got), n, samples[(n-1)/2], samples[n/2])
			}
			if l.reset(); l.median() != 0 {
				t.Fatal("a median of nothing")
			}
		}
	}
}

func TestMedianAtTheEdges(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, time.Microsecond, math.MaxInt64} {
		var l latencies
		l.add(d)
		if got := l.median(); got < time.Microsecond || got > 2*time.Hour {
			t.Errorf("median %v of %v", got, d)
		}
	}
}
