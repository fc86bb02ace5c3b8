package balancer

import (
	"math"
	"testing"
	"time"
)

const ms = float64(time.Millisecond)

// TestLatency: each rule of the estimate by itself, in milliseconds, with a median of 10.
func TestLatency(t *testing.T) {
	type sample struct {
		at     time.Duration
		millis float64
	}
	for _, test := range []struct {
		name     string
		samples  []sample
		at       time.Duration
		waiting  bool
		min, max float64
	}{
		{"no sample: the median", nil, 0, false, 10, 10},
		{"the first sample counts for little against the median", []sample{{0, 5}}, 0, false, 9.6, 10},
		{"a peak counts at once", []sample{{0, 10}, {1, 10 * maxRise}}, 1, false, 10*maxRise - 0.1, 10 * maxRise},
		{"a peak is bounded", []sample{{0, 10}, {1, 500}}, 1, false, 10*maxRise - 0.1, 10 * maxRise},
		{"two peaks go further", []sample{{0, 10}, {1, 500}, {2, 500}}, 2, false, 10*maxRise*maxRise - 1, 10 * maxRise * maxRise},
		{"a peak fades to half way in about 10 s", []sample{{0, 10}, {1, 10 * maxRise}}, 10 * time.Second, false, 10 + 3.5*(maxRise-1), 10 + 5*(maxRise-1)},
		{"a peak is over after a minute", []sample{{0, 10}, {1, 500}, {2, 500}}, time.Minute, false, 10, 12},
		{"a fast one is forgotten too", []sample{{0, 5}, {9 * time.Second, 1}, {20 * time.Second, 1}}, time.Minute + 20*time.Second, false, 9.5, 10},
		{"a sample after 10 s takes more than half of the way down", []sample{{0, 10}, {1, 500}, {2, 500}, {10 * time.Second, 5}}, 10 * time.Second, false, 15, 25},
		{"one at once a sixteenth", []sample{{0, 10}, {1, 500}, {2, 500}, {3, 8}}, 3, false, 37.5, 38.5},
		{"who waits is as slow as the wait", nil, time.Second, true, 1000, 1000},
		{"a short wait says nothing", nil, 3 * time.Millisecond, true, 10, 10},
		{"not under the floor", []sample{{0, 0.01}, {time.Minute, 0.01}, {2 * time.Minute, 0.01}}, 2 * time.Minute, false, 1, 1.5},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l latency
			for _, s := range test.samples {
				l.add(s.millis*ms, 10*ms, int64(s.at))
			}
			if got := l.estimate(int64(test.at), 10*ms, test.waiting) / ms; got < test.min || got > test.max {
				t.Errorf("estimate %.2f ms, want %v to %v", got, test.min, test.max)
			}
		})
	}
}

func TestLatencyForget(t *testing.T) {
	var l latency
	l.add(1000*ms, 10*ms, 1)
	l.forget()
	if got := l.estimate(1, 10*ms, false); got != 10*ms {
		t.Errorf("after forget: %v", got)
	}
}

// TestFade: within 0.07 of the exponential, falling, and 1 at the start.
func TestFade(t *testing.T) {
	last := 1.0
	for age := time.Duration(0); age < 2*time.Minute; age += 10 * time.Millisecond {
		got, want := fade(int64(age)), math.Exp(-age.Seconds()/decay.Seconds())
		if math.Abs(got-want) > 0.07 || got > last {
			t.Fatalf("fade(%v) = %v, e^-x is %v", age, got, want)
		}
		last = got
	}
	if fade(-1) != 1 {
		t.Error("a clock that steps back fades")
	}
}

// TestMedian: it settles where half of the samples are higher.
func TestMedian(t *testing.T) {
	var m median
	for n := range 5000 {
		m.add(float64(n*7919%100+1) * ms)
	}
	if got := m.get() / ms; got < 35 || got > 65 {
		t.Errorf("median of 1 to 100 ms: %v ms", got)
	}
}
