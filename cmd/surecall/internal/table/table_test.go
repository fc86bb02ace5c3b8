package table

import (
	"fmt"
	"strings"
	"testing"

	"github.com/surecall/surecall/status"
)

func TestRender(t *testing.T) {
	quiet := status.Status{
		Service: "users", Target: "consul:///users", At: at(4),
		Source:    status.Source{Instances: 1, Age: 12, Answered: true, Why: "connection refused"},
		Instances: []status.Instance{{ID: "users-1", Address: "10.0.1.1:1", Weight: 1, State: "connecting", Share: 1, Why: "no connection yet"}},
	}
	for _, tc := range []struct {
		name string
		all  []status.Status
		o    Options
		want string
	}{
		{"as much as it takes", []status.Status{sample()}, Options{Note: "note"}, `
orders  consul:///orders  5 instances: 1 failed, 1 ejected, 3 eligible
source  5 instances, answered 800ms ago, trusted
calls   12,058 ended · 24 failed (20 UNAVAILABLE, 4 INTERNAL) · 31 retried (UNAVAILABLE) · 2 retries denied (not idempotent) · 7 in flight · budget 8 of 10 · limit of client 7/1024
STATE       INSTANCE   ADDRESS          ZONE  WEIGHT  SHARE  IN FLIGHT  LATENCY  BREAKER     WHY
✗ failed    orders-3   10.0.0.3:50051   eu-1      10      -      3/100    1.2ms  closed      connection refused
⊘ ejected   orders-10  10.0.0.10:50051  eu-1      10      -     10/100    1.2ms  open 22/40  ejected until 12:03:09
● eligible  orders-1   10.0.0.1:50051   eu-1      10   100%      1/100    1.2ms  closed
● eligible  orders-2   10.0.0.2:50051   eu-1      10   100%      2/100    1.2ms  closed
● eligible  orders-4   10.0.0.4:50051   eu-1      10    35%      4/100    1.2ms  closed      slow start

CALLS THAT FAILED OR WERE MENDED
12:03:01  OK  /orders.v1.Orders/Get in 130ms: orders-3 failure after 128ms, orders-1 success after 2.0ms
EVENTS
12:03:03  WARN   orders-3 instance is failed (from eligible, to failed)
12:03:01  INFO   orders-3 attempt failed, another follows
note
`},
		{"narrow, low, and plain", []status.Status{sample()}, Options{Width: 50, Height: 9, Note: "note", ASCII: true}, `
orders  consul:///orders  5 instances: 1 failed, ~
source  5 instances, answered 800ms ago, trusted
calls   12,058 ended | 24 failed (20 UNAVAILABLE,~
STATE       INSTANCE   WHY
x failed    orders-3   connection refused
! ejected   orders-10  ejected until 12:03:09
+ eligible  orders-1
~ and 2 more: 2 eligible
note
`},
		{"two services", []status.Status{quiet, {Service: "none", Shadow: true, Disabled: []string{"retry"}}}, Options{Width: 80, Height: 20}, `
users  consul:///users  1 instance: 1 connecting
source  1 instance, answered 12s ago, not trusted: connection refused
STATE         INSTANCE  ADDRESS     WEIGHT  WHY
◌ connecting  users-1   10.0.1.1:1       1  no connection yet
none    no instance
note    shadow mode: nothing is acted on · switched off: retry
source  no answer yet
`},
		{"no client", nil, Options{}, "\nno client\n"},
		{"what is not as usual", []status.Status{{
			Service: "orders", Instances: []status.Instance{instance(1, "eligible")},
			Source:         status.Source{Datacenters: []status.Source{{Datacenter: "eu", Why: "connection refused"}, {Datacenter: "us", Instances: 2, Absent: 1, Answered: true, Age: 90, FromDisk: true}}},
			Methods:        []status.Method{{Name: "/o/Get", Attempts: 3, Hedges: 2, HedgesWon: 1, Rejected: map[string]uint64{"throttled": 1500}, SecondBest: map[string]uint64{"stale cache": 1, "fallback": 2, "alternate": 0}, Breaker: &status.Breaker{State: "open", DryRun: true}}},
			ServiceBreaker: &status.Breaker{State: "open", Mode: "forced open"}, Streams: 1,
			Limits:        []status.Limit{{Scope: "streams", InFlight: 1, Limit: 1, Waiting: 2}},
			Notifications: status.Notifications{Dropped: 1},
			Policies:      []status.Policy{{Layer: "code"}, {Layer: "owner", From: "surecall/orders"}, {Layer: "caller", Refused: "line 1: no such field"}},
			BadCalls:      []status.BadCall{{At: at(1), Method: "/o/Get", Code: "UNAVAILABLE", Took: 0.001, Denied: "budget empty", Error: "gone", Attempts: []status.Attempt{{Verdict: "ignored"}}, Advice: []string{"more budget"}}},
		}}, Options{}, `
orders    1 instance: 1 eligible
note    service breaker is open · service breaker by hand: forced open · breaker of /o/Get is open (runs dry) · policy of owner from surecall/orders · policy of caller refused: line 1: no such field
source  eu: connection refused · us: 2 instances from disk and 1 absent, answered 2m ago, not trusted
calls   0 ended · 1,500 rejected (throttled) · 2 hedged, 1 of them won · 3 answered by second best (2 fallback, 1 stale cache) · 0 in flight · 1 stream · limit of streams 1/1, 2 wait · notifications: 0 pending, 0 failed, 1 dropped
STATE       INSTANCE  ADDRESS         ZONE  WEIGHT  SHARE  IN FLIGHT  LATENCY  BREAKER
● eligible  orders-1  10.0.0.1:50051  eu-1      10   100%      1/100    1.2ms  closed

CALLS THAT FAILED OR WERE MENDED
12:03:01  UNAVAILABLE  /o/Get in 1.0ms: nobody ignored after 0s; not repeated: budget empty; gone; advice: more budget
`},
		{"in colour", []status.Status{{Service: "none", Target: "x"}}, Options{Color: true, Height: 1}, `
«1mnone«0m«2m  x  «0m«31mno instance«0m
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := "\n" + strings.ReplaceAll(Render(tc.all, tc.o), "\x1b[", "«")
			if got != tc.want {
				t.Errorf("got%s\nwant%s", got, tc.want)
			}
		})
	}
}

func TestList(t *testing.T) {
	s := sample()
	s.Instances = s.Instances[:2]
	want := `
STATE       INSTANCE   ADDRESS          ZONE  WEIGHT  SHARE  IN FLIGHT  LATENCY  BREAKER     WHY
⊘ ejected   orders-10  10.0.0.10:50051  eu-1      10      -     10/100    1.2ms  open 22/40  ejected until 12:03:09
● eligible  orders-2   10.0.0.2:50051   eu-1      10   100%      2/100    1.2ms  closed
orders: 2 instances: 1 ejected, 1 eligible; source: 5 instances, answered 800ms ago, trusted
`
	if got := "\n" + List([]status.Status{s}, Options{}); got != want {
		t.Errorf("got%s\nwant%s", got, want)
	}
}

// fleet is a service with n instances, of which the last ones have failed.
func fleet(n, failed int) status.Status {
	s := status.Status{Service: "orders", Target: "consul:///orders", Source: status.Source{Answered: true, Trusted: true, Instances: n}}
	for i := range n {
		state := "eligible"
		if i >= n-failed {
			state = "failed"
		}
		s.Instances = append(s.Instances, instance(i+1, state))
	}
	for i := range 20 {
		s.Events = append(s.Events, status.Event{At: at(59 - i), Level: "INFO", Text: fmt.Sprint("event ", i)})
	}
	return s
}

func TestTroubledComeFirstAndTheRestIsCounted(t *testing.T) {
	for _, tc := range []struct {
		name           string
		all            []status.Status
		height         int
		failed, events int
		more           string
	}{
		{"500, 3 failed, 24 lines", []status.Status{fleet(500, 3)}, 24, 3, 4, "… and 486 more: 486 eligible"},
		{"500 failed", []status.Status{fleet(500, 500)}, 24, 14, 4, "… and 486 more: 486 failed"},
		{"500, 20 failed", []status.Status{fleet(500, 20)}, 24, 14, 4, "… and 486 more: 6 failed, 480 eligible"},
		{"10 lines", []status.Status{fleet(500, 20)}, 10, 3, 1, "… and 497 more: 17 failed, 480 eligible"},
		{"all fit", []status.Status{fleet(5, 1)}, 22, 1, 12, ""},
		{"ten services", []status.Status{
			fleet(50, 1), fleet(50, 0), fleet(50, 0), fleet(50, 0), fleet(50, 0),
			fleet(50, 0), fleet(50, 0), fleet(50, 0), fleet(50, 0), fleet(50, 2),
		}, 30, 3, 2, "… and 49 more: 49 eligible"},
		{"more services than lines", []status.Status{fleet(1, 0), fleet(1, 0), fleet(1, 0), fleet(1, 0)}, 3, 0, 0, "… and 3 more services"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Render(tc.all, Options{Width: 100, Height: tc.height, Note: "note"})
			if lines := strings.Count(got, "\n"); lines > tc.height || lines < tc.height-1 {
				t.Errorf("%d lines: want %d", lines, tc.height)
			}
			if failed := strings.Count(got, "✗ failed"); failed != tc.failed {
				t.Errorf("%d failed ones are shown: want %d", failed, tc.failed)
			}
			if events := strings.Count(got, " event "); events != tc.events {
				t.Errorf("%d events are shown: want %d", events, tc.events)
			}
			if !strings.Contains(got, tc.more) {
				t.Errorf("want %q", tc.more)
			}
			if t.Failed() {
				t.Log("\n" + got)
			}
		})
	}
}

func TestWhyNamesAllThereIsToKnow(t *testing.T) {
	for want, i := range map[string]status.Instance{
		"":                                       {State: "eligible", Eligible: true, SlowStart: 1, Share: 1},
		"connection refused":                     {State: "failed", Why: "connection refused", Share: 1},
		"by hand: forced open":                   {State: "ejected", Mode: "forced open", Share: 1},
		"asked for a rest of 2.0s; slow start":   {State: "eligible", Eligible: true, Rest: 2, SlowStart: 0.5},
		"had too much to do":                     {State: "eligible", Eligible: true, SlowStart: 1, Share: 0.5},
		"its breaker runs dry: it would be open": {State: "eligible", Share: 1, Breaker: &status.Breaker{State: "open", DryRun: true}},
		"no connection yet; asked for a rest of 500ms": {State: "connecting", Why: "no connection yet", Rest: 0.5},
	} {
		if got := why(nil, &i); got != want {
			t.Errorf("%+v: %q: want %q", i, got, want)
		}
	}
}

func TestNatural(t *testing.T) {
	in := []string{"", "a", "a1", "a2", "a10", "a10b", "a11", "b-2", "b-010", "b-11"}
	for i, a := range in {
		for j, b := range in {
			if got, want := natural(a, b) < 0, i < j; got != want {
				t.Errorf("%q before %q: %v", a, b, got)
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		took(0): "0s", took(-1): "-", took(-1e-6): "0s", took(0.0000004): "0s", took(0.00034): "340us", took(0.0012): "1.2ms", took(0.25): "250ms",
		took(1.04): "1.0s", took(59): "59s", took(150): "2m", took(7200): "2h", took(1e5): "1d", took(1e300): ">99999d",
		percent(0.354): "35%", percent(1): "100%", percent(1e9): "-", amount(8.9): "8", amount(1e300): "-",
		count(0): "0", count(999): "999", count(1000): "1,000", count(1234567): "1,234,567",
	} {
		if got != want {
			t.Errorf("%q: want %q", got, want)
		}
	}
}
