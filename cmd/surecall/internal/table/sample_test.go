package table

import (
	"fmt"
	"time"

	"github.com/surecall/surecall/status"
)

func at(second int) time.Time { return time.Date(2026, 1, 2, 12, 3, second, 0, time.Local) }

func instance(n int, state string) status.Instance {
	return status.Instance{
		ID: fmt.Sprintf("orders-%d", n), Address: fmt.Sprintf("10.0.0.%d:50051", n), Zone: "eu-1", Weight: 10, State: state,
		Eligible: state == "eligible", SlowStart: 1, Share: 1, InFlight: n, Limit: 100, Latency: 0.0012,
		Breaker: &status.Breaker{State: "closed", Requests: 40},
	}
}

// sample is a process that calls one service, with one of everything in trouble.
func sample() status.Status {
	failed, ejected, slow := instance(3, "failed"), instance(10, "ejected"), instance(4, "eligible")
	failed.Why = "connection refused"
	ejected.Why = "ejected until 12:03:09"
	ejected.Breaker = &status.Breaker{State: "open", Requests: 40, Failures: 22, Until: at(9)}
	slow.SlowStart = 0.35
	return status.Status{
		Service: "orders", Target: "consul:///orders", At: at(4),
		Source:    status.Source{Instances: 5, Age: 0.8, Answered: true, Trusted: true},
		Instances: []status.Instance{instance(2, "eligible"), ejected, instance(1, "eligible"), failed, slow},
		Methods: []status.Method{{
			Name: "/orders.v1.Orders/Get", Calls: map[string]uint64{"OK": 12034, "UNAVAILABLE": 20, "INTERNAL": 4}, Attempts: 12090,
			Retries: map[string]uint64{"UNAVAILABLE": 31}, Denied: map[string]uint64{"not idempotent": 2},
		}},
		InFlight: 7, Budget: status.Budget{Tokens: 8.4, Capacity: 10},
		Limits: []status.Limit{{Scope: "client", InFlight: 7, Limit: 1024}},
		Events: []status.Event{
			{At: at(3), Level: "WARN", Kind: "instance_changed", Text: "instance is failed (from eligible, to failed)", Instance: "orders-3"},
			{At: at(1), Level: "INFO", Kind: "attempt_retried", Text: "attempt failed, another follows", Instance: "orders-3"},
		},
		BadCalls: []status.BadCall{{
			At: at(1), Method: "/orders.v1.Orders/Get", Took: 0.13, Code: "OK",
			Attempts: []status.Attempt{{Number: 1, Instance: "orders-3", Verdict: "failure", Took: 0.128}, {Number: 2, Instance: "orders-1", Verdict: "success", Took: 0.002}},
		}},
	}
}
