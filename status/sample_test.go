package status_test

import (
	"fmt"
	"time"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// aClient is a client of n instances, of which some have trouble.
func aClient(service string, n int) status.Status {
	s := status.Status{
		Service: service, Target: "consul:///" + service, At: noon, Since: noon.Add(-5 * time.Hour),
		Source:   status.Source{Instances: n, At: noon.Add(-3 * time.Second), Age: 3.2, Answered: true, Trusted: true},
		InFlight: 17, Streams: 2,
		ServiceBreaker: &status.Breaker{State: "closed", Requests: 812, Failures: 9},
		Budget:         status.Budget{Tokens: 41.5, Capacity: 60},
		Limits: []status.Limit{
			{Scope: "client", InFlight: 17, Limit: 1024},
			{Scope: "/orders.v1.Orders/Export", InFlight: 4, Waiting: 2, Limit: 4},
		},
		Methods: []status.Method{
			{
				Name: "/orders.v1.Orders/Get", Idempotent: true, Deadline: 5, Calls: map[string]uint64{"OK": 182_311, "UNAVAILABLE": 3},
				Attempts: 182_402, Retries: map[string]uint64{"UNAVAILABLE": 84, "hang": 4}, P50: 0.0012, P95: 0.0041, P99: 0.0113,
				Hedges: 12, HedgesWon: 5,
			},
			{
				Name: "/orders.v1.Orders/Place", Deadline: 5, Calls: map[string]uint64{"OK": 9_120, "DEADLINE_EXCEEDED": 1},
				Attempts: 9_121, Denied: map[string]uint64{"not idempotent": 1}, P50: 0.008, P95: 0.021, P99: 0.044,
				Breaker: &status.Breaker{State: "closed", Requests: 40, Failures: 1},
			},
		},
		Policies: []status.Policy{
			{Layer: "code", Since: noon.Add(-5 * time.Hour), Sets: []string{"retry", "breaker"}},
			{Layer: "owner", From: "surecall/orders", Since: noon.Add(-time.Hour), Sets: []string{"deadline of /orders.v1.Orders/Get", "hedging of /orders.v1.Orders/Get"}, Refused: "line 4: retry.attempts 40: want 1 to 10"},
		},
		Events: []status.Event{
			{At: noon.Add(-2 * time.Second), Level: "WARN", Kind: "instance_changed", Text: "(10.0.0.2:80): eligible → ejected: 5 failures in a row", Instance: "orders-2"},
			{At: noon.Add(-9 * time.Second), Level: "INFO", Kind: "instance_added", Text: "(10.0.0.5:80), weight 1", Instance: "orders-5"},
			{At: noon.Add(-time.Minute), Level: "ERROR", Kind: "source_failed", Text: "consul: agent: 500 no cluster leader"},
		},
		BadCalls: []status.BadCall{
			{
				At: noon.Add(-time.Second), Method: "/orders.v1.Orders/Place", Took: 5, Code: "DEADLINE_EXCEEDED", Error: "context deadline exceeded",
				Attempts: []status.Attempt{{Number: 1, Instance: "orders-3", Address: "10.0.0.3:80", Took: 5, Executed: true, Verdict: "failure", Error: "context deadline exceeded"}},
				Advice:   []string{"/orders.v1.Orders/Place is not idempotent: if it is, say so in its proto file, and another instance would have answered"},
			},
			{
				At: noon.Add(-3 * time.Second), Method: "/orders.v1.Orders/Get", Took: 0.012, Code: "OK",
				Attempts: []status.Attempt{
					{Number: 1, Instance: "orders-2", Address: "10.0.0.2:80", Took: 0.001, Verdict: "failure", Error: "connection refused"},
					{Number: 2, Instance: "orders-4", Address: "10.0.0.4:80", Began: 0.0011, Took: 0.0108, Executed: true, Verdict: "success"},
				},
			},
		},
	}
	for i := range n {
		instance := status.Instance{
			ID: fmt.Sprintf("%s-%d", service, i+1), Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Incarnation: "1",
			Zone: string(rune('a' + i%3)), Weight: 1 + i%2, State: string(event.Eligible), Eligible: true, InFlight: i * 7 % 5,
			Latency: 0.001 + float64(i*13%7)/1000, SlowStart: 1, Share: 1,
			Breaker: &status.Breaker{State: "closed", Requests: 120 + i, Failures: i * 3 % 2},
		}
		trouble(&instance, i)
		s.Instances = append(s.Instances, instance)
	}
	return s
}

// trouble gives an instance in seven some.
func trouble(i *status.Instance, n int) {
	bad := func(state event.State, why string) { i.State, i.Eligible, i.Why = string(state), false, why }
	switch n {
	case 1:
		bad(event.Ejected, "ejected until 12:00:04")
		i.Breaker = &status.Breaker{State: "open", Requests: 31, Failures: 19, Run: 5, Ejections: 2, Until: noon.Add(4 * time.Second)}
	case 3:
		bad(event.Failed, "connection error: desc = \"transport: Error while dialing: dial tcp 10.0.0.4:80: connect: connection refused\"")
	case 4:
		i.SlowStart = 0.43
	case 6:
		bad(event.Draining, "it said that it is leaving")
	case 8:
		bad(event.Suspect, "calls wait on it and nothing comes back")
	}
}
