package limit_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/limit"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		policy interface{ Validate() error }
		want   []string // of the message; none: valid
	}{
		{policy: limit.Concurrency{}},
		{policy: limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 1, Interval: time.Millisecond}}},
		{policy: limit.Concurrency{Adaptive: limit.Adaptive{On: true, Min: 50}}},
		{policy: limit.Concurrency{Adaptive: limit.Adaptive{On: true, Min: 5000}}},
		{policy: limit.Concurrency{Adaptive: limit.Adaptive{On: true, Max: 5}}},
		{policy: limit.Rate{PerSecond: 0.5}},
		{policy: limit.Rate{PerSecond: 1e9, Wait: true}},
		{policy: limit.Throttle{}},
		{limit.Concurrency{Limit: -1, Queue: limit.Queue{MaxWaiting: -1}}, []string{
			"limit: Limit -1: want 0 to 1000000", "limit: Queue.MaxWaiting -1: want 0 to 1000000",
		}},
		{limit.Concurrency{Queue: limit.Queue{Target: 1}}, []string{"limit: Queue {MaxWaiting:0 Interval:0s Target:1ns}: want MaxWaiting"}},
		{limit.Concurrency{Queue: limit.Queue{MaxWaiting: 1, Interval: 1, Target: time.Hour}}, []string{
			"limit: Queue.Interval 1ns: want 1ms to 24h0m0s", "limit: Queue.Target 1h0m0s: want 0s to 1ns",
		}},
		{limit.Concurrency{Adaptive: limit.Adaptive{Max: 5}}, []string{"want On, or no other field"}},
		{limit.Concurrency{Limit: 3, Adaptive: limit.Adaptive{On: true, Min: 7, Max: 5, Tolerance: math.NaN(), Interval: 1}}, []string{
			"limit: Limit 3: want 0 while Adaptive is on", "limit: Adaptive.Max 5: want 7 to 1000000",
			"limit: Adaptive.Tolerance NaN: want 0 to 10", "limit: Adaptive.Interval 1ns: want 1s to 24h0m0s",
		}},
		{limit.Rate{}, []string{"limit: PerSecond 0: want 0.001 to 1e+09"}},
		{limit.Rate{PerSecond: 1, Burst: -1, MaxWait: 1}, []string{"limit: Burst -1: want 1 to 1000000", "limit: MaxWait 1ns: want Wait with it"}},
		{limit.Throttle{K: 1, Window: 1, MinRequests: -1, MaxRejected: 2}, []string{
			"limit: K 1: want 1.1 to 100", "limit: Window 1ns: want 100ms to 24h0m0s",
			"limit: MinRequests -1: want 1 to 1000000", "limit: MaxRejected 2: want 0 to 1",
		}},
	} {
		err := c.policy.Validate()
		if (err != nil) != (c.want != nil) {
			t.Errorf("%+v: %v, want %q", c.policy, err, c.want)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q in it", c.policy, err, want)
			}
		}
	}
}

// TestDefaults holds the tables of the package comment to the code.
func TestDefaults(t *testing.T) {
	p := limit.Concurrency{Adaptive: limit.Adaptive{On: true}, Queue: limit.Queue{MaxWaiting: 9}}.WithDefaults()
	want := limit.Concurrency{
		Adaptive: limit.Adaptive{On: true, Min: 1, Max: 1000, Initial: 20, Tolerance: 0.25, Interval: 10 * time.Second},
		Queue:    limit.Queue{MaxWaiting: 9, Interval: 100 * time.Millisecond, Target: 5 * time.Millisecond},
	}
	if p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if got := (limit.Concurrency{}).WithDefaults(); got != (limit.Concurrency{}) {
		t.Errorf("got %+v: what is off has no defaults", got)
	}
	if got, want := (limit.Rate{PerSecond: 2.5, Wait: true}).WithDefaults(), (limit.Rate{PerSecond: 2.5, Burst: 2, Wait: true, MaxWait: time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := (limit.Throttle{}).WithDefaults(), (limit.Throttle{K: 2, Window: 3 * time.Second, MinRequests: 20, MaxRejected: 0.9}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPriority(t *testing.T) {
	for p, name := range map[limit.Priority]string{
		limit.Sheddable: "sheddable", limit.Normal: "normal", limit.Critical: "critical",
	} {
		if got, ok := limit.ParsePriority(name); p.String() != name || got != p || !ok {
			t.Errorf("%d: %v, parsed %v, %v", p, p, got, ok)
		}
		if got := limit.FromContext(limit.NewContext(t.Context(), p)); got != p {
			t.Errorf("%v in a context is %v", p, got)
		}
	}
	for _, name := range []string{"", "Critical", "unknown", "1"} {
		if got, ok := limit.ParsePriority(name); got != limit.Normal || ok {
			t.Errorf("%q parsed: %v, %v", name, got, ok)
		}
	}
	if limit.FromContext(t.Context()) != limit.Normal || limit.Priority(7).String() != "unknown" {
		t.Error("neither normal without a word, nor unknown what is none")
	}
}
