package status

import "github.com/surecall/surecall/event"

// states are all that an instance can be in: a state that none is in is 0, and not left out.
func states() []event.State {
	return []event.State{
		event.Eligible, event.Absent, event.Overruled, event.Suspect, event.Ejected,
		event.NotServing, event.Draining, event.Failed, event.Connecting, event.Standby,
	}
}

// fleetMetrics are about all instances together.
func fleetMetrics() []Metric {
	return []Metric{
		gauge("surecall.client.instances", "{instance}", "Known instances, by state.", []string{AttrState}, func(s *Status, tell tell) {
			counts := map[string]int{}
			for i := range s.Instances {
				counts[s.Instances[i].State]++
			}
			for _, state := range states() {
				tell(float64(counts[string(state)]), string(state))
			}
		}),
		gauge("surecall.client.in_flight", "{attempt}", "Unary attempts in flight.", nil, func(s *Status, tell tell) { tell(float64(s.InFlight)) }),
		gauge("surecall.client.streams", "{stream}", "Open streams.", nil, func(s *Status, tell tell) { tell(float64(s.Streams)) }),
		counter("surecall.client.transitions", "{transition}", "How often an instance or a breaker went to a state.", []string{AttrOf, AttrState},
			transitions),
		gauge("surecall.client.source.age", "s", "Time since the source last had an answer.", nil, func(s *Status, tell tell) {
			if s.Source.Answered {
				tell(s.Source.Age)
			}
		}),
		gauge("surecall.client.source.trusted", "{source}", "1 if the source's answer is trusted, 0 if not.", nil,
			func(s *Status, tell tell) { tell(flag(s.Source.Trusted)) }),
		gauge("surecall.client.source.instances", "{instance}", "Instances that the source lists.", nil,
			func(s *Status, tell tell) { tell(float64(s.Source.Instances)) }),
	}
}

// transitions are also those that have not happened yet: who looks at rates would miss the
// first one else.
func transitions(s *Status, tell tell) {
	seen := map[Transition]bool{}
	for _, t := range s.Transitions {
		tell(float64(t.Count), t.Of, t.To)
		seen[Transition{Of: t.Of, To: t.To}] = true
	}
	unseen := func(of, to string) {
		if !seen[Transition{Of: of, To: to}] {
			tell(0, of, to)
		}
	}
	for _, state := range states() {
		unseen("instance", string(state))
	}
	for _, state := range []string{"open", "half-open", "closed"} {
		unseen("method breaker", state)
	}
	for _, state := range []string{"open", "closed"} {
		unseen("service breaker", state)
	}
}

// stateMetrics are about what the client does with its calls as a whole.
func stateMetrics() []Metric {
	return []Metric{
		gauge("surecall.client.breakers.open", "{breaker}", "Breakers that are not closed.", []string{AttrOf}, func(s *Status, tell tell) {
			instances, methods, service := 0, 0, 0
			for i := range s.Instances {
				instances += open(s.Instances[i].Breaker)
			}
			for i := range s.Methods {
				methods += open(s.Methods[i].Breaker)
			}
			service = open(s.ServiceBreaker)
			tell(float64(instances), "instance")
			tell(float64(methods), "method")
			tell(float64(service), "service")
		}),
		gauge("surecall.client.budget.tokens", "{attempt}", "Retries and hedges that the budget could pay for now.", nil,
			func(s *Status, tell tell) { tell(s.Budget.Tokens) }),
		gauge("surecall.client.budget.capacity", "{attempt}", "Retries and hedges that the budget can hold at this rate of calls.", nil,
			func(s *Status, tell tell) { tell(s.Budget.Capacity) }),
		gauge("surecall.client.limit.in_flight", "{attempt}", "Attempts or streams under a limit of concurrency.", []string{AttrScope},
			perLimit(func(l *Limit) int { return l.InFlight })),
		gauge("surecall.client.limit.waiting", "{attempt}", "Attempts that wait for a slot under a limit of concurrency.", []string{AttrScope},
			perLimit(func(l *Limit) int { return l.Waiting })),
		gauge("surecall.client.limit.max", "{attempt}", "Attempts or streams that a limit of concurrency allows.", []string{AttrScope}, perLimit(func(l *Limit) int { return l.Limit })),
		gauge("surecall.client.notifications.pending", "{call}", "Notifications that are not answered yet.", nil,
			func(s *Status, tell tell) { tell(float64(s.Notifications.Pending)) }),
		counter("surecall.client.notifications.sent", "{call}", "Notifications that were answered with success.", nil,
			func(s *Status, tell tell) { tell(float64(s.Notifications.Sent)) }),
		counter("surecall.client.notifications.dropped", "{call}", "Notifications that were never sent.", nil,
			func(s *Status, tell tell) { tell(float64(s.Notifications.Dropped)) }),
		counter("surecall.client.notifications.failed", "{call}", "Notifications that ended with an error.", nil,
			func(s *Status, tell tell) { tell(float64(s.Notifications.Failed)) }),
		gauge("surecall.client.shadow", "{client}", "1 in shadow mode, else 0.", nil, func(s *Status, tell tell) { tell(flag(s.Shadow)) }),
		gauge("surecall.client.disabled", "{protection}", "1 for each protection that is switched off.", []string{AttrProtection},
			func(s *Status, tell tell) {
				for _, p := range s.Disabled {
					tell(1, p)
				}
			}),
		gauge("surecall.client.policy.refused", "{document}", "1 if the newest document of a layer was refused, else 0.", []string{AttrLayer},
			func(s *Status, tell tell) {
				for i := range s.Policies {
					tell(flag(s.Policies[i].Refused != ""), s.Policies[i].Layer)
				}
			}),
	}
}

func instanceMetrics() []Metric {
	return []Metric{
		instance("surecall.client.instance.eligible", "{instance}", "1 if the instance may be picked, else 0.", func(i *Instance) float64 { return flag(i.Eligible) }),
		instance("surecall.client.instance.in_flight", "{attempt}", "Unary attempts in flight on the instance.", func(i *Instance) float64 { return float64(i.InFlight) }),
		instance("surecall.client.instance.latency", "s", "Estimate of the instance's latency that the choice goes by.", func(i *Instance) float64 { return i.Latency }),
		instance("surecall.client.instance.weight", "{weight}", "Registered weight of the instance.", func(i *Instance) float64 { return float64(i.Weight) }),
		instance("surecall.client.instance.share", "{share}", "Share of its weight that the instance gets: slow start, and less since it had too much to do. 1 is all.",
			func(i *Instance) float64 { return i.SlowStart * i.Share }),
	}
}

func instance(name, unit, help string, of func(*Instance) float64) Metric {
	m := gauge(name, unit, help, []string{AttrInstance}, func(s *Status, tell tell) {
		for i := range s.Instances {
			tell(of(&s.Instances[i]), s.Instances[i].ID)
		}
	})
	m.Instances = true
	return m
}

func perLimit(of func(*Limit) int) func(*Status, tell) {
	return func(s *Status, tell tell) {
		for i := range s.Limits {
			tell(float64(of(&s.Limits[i])), s.Limits[i].Scope)
		}
	}
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func open(b *Breaker) int {
	if b != nil && b.State != "closed" {
		return 1
	}
	return 0
}
