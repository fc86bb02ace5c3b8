package surecall

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/status"
)

// Status returns a copy of all that the client holds of its service, its calls and itself
// right now: what the status page, metrics and tools show. It asks nobody, and takes some
// 200 ns for each instance, method and remembered event or bad call, and 20 µs for each bad
// call that is new since the last look.
func (c *Client) Status() status.Status {
	s := c.core.status()
	n := c.Notifications()
	s.Notifications = status.Notifications{Pending: n.Pending, Sent: n.Sent, Failed: n.Failed, Dropped: n.Dropped}
	s.Source = shownSource(c.Source())
	for _, p := range c.Policies() {
		s.Policies = append(s.Policies, status.Policy{Layer: p.Layer, From: p.Source, Since: p.Applied, Refused: p.Refused, Sets: p.Sets})
	}
	return s
}

func (c *core) status() status.Status {
	state, now := c.state.Load(), time.Now()
	s := status.Status{
		Service: c.service, Target: c.target, At: now, Since: c.since, Shadow: state.settings.shadow, Instances: []status.Instance{},
		Budget: status.Budget{Tokens: state.budget.Balance(now), Capacity: state.budget.Capacity(now)},
	}
	for _, p := range c.disabled() {
		s.Disabled = append(s.Disabled, string(p))
	}
	for _, i := range c.fleet.Status() {
		shown := shownInstance(i)
		if state.settings.breaker != nil {
			shown.Breaker = shownBreaker(i.Breaker)
		}
		s.Instances = append(s.Instances, shown)
		s.InFlight += i.InFlight
		s.Streams += i.Streams
	}
	if b := state.service; b != nil {
		n := b.Counts()
		s.ServiceBreaker = &status.Breaker{State: n.State.String(), Mode: shownMode(n.Mode), DryRun: n.DryRun, Failures: n.Failures, Run: n.Failures}
	}
	s.Methods, s.Limits = state.methods.show(), state.methods.limits.show()
	c.recorder.read(&s)
	s.BadCalls = c.recorder.badCalls()
	return s
}

func shownSource(from SourceStatus) status.Source {
	s := shownAnswer(from.Answer)
	if len(from.Datacenters) > 1 {
		for _, a := range from.Datacenters {
			s.Datacenters = append(s.Datacenters, shownAnswer(a))
		}
	}
	return s
}

func shownAnswer(a resolver.Answer) status.Source {
	return status.Source{
		Datacenter: a.Datacenter, Instances: a.Instances, Absent: a.Absent, At: a.At, Age: a.Age.Seconds(), Answered: !a.At.IsZero(),
		Trusted: a.Trusted, FromDisk: a.FromDisk, Why: a.Why,
	}
}

func shownInstance(i balancer.Status) status.Instance {
	return status.Instance{
		ID: i.ID, Address: i.Address, Incarnation: i.Incarnation, Region: i.Region, Zone: i.Zone,
		Priority: i.Priority, Weight: i.Weight, State: string(i.State), Eligible: i.Eligible(), Why: i.Why, Mode: shownMode(i.Mode),
		InFlight: i.InFlight, Limit: i.Limit, Streams: i.Streams, StreamLimit: i.StreamLimit,
		Latency: i.Latency.Seconds(), SlowStart: i.SlowStart, Share: i.Share, Rest: i.Rest.Seconds(),
	}
}

func shownBreaker(b breaker.Counts) *status.Breaker {
	return &status.Breaker{
		State: b.State.String(), Mode: shownMode(b.Mode), DryRun: b.DryRun, Overruled: b.Overruled,
		Requests: b.Requests, Failures: b.Failures, Run: b.Run, Ejections: b.Ejections, Until: b.EjectedUntil,
	}
}

// shownMethodBreaker returns nil for no breaker.
func shownMethodBreaker(b *breaker.Method) *status.Breaker {
	if b == nil {
		return nil
	}
	n := b.Counts()
	return &status.Breaker{
		State: n.State.String(), Mode: shownMode(n.Mode), DryRun: n.DryRun,
		Requests: n.Requests, Failures: n.Failures, Ejections: n.Openings, Until: n.OpenUntil,
	}
}

func shownMode(m breaker.Mode) string {
	if m == breaker.Automatic {
		return ""
	}
	return m.String()
}

// show returns what was counted and learned of each method, by name. What did not fit into
// the table is together under "(others)".
func (t *methods) show() []status.Method {
	all := []status.Method{} // and not nil, which is null in JSON
	for _, m := range *t.table.Load() {
		all = append(all, m.show())
	}
	slices.SortFunc(all, func(a, b status.Method) int { return cmp.Compare(a.Name, b.Name) })
	others := status.Method{Name: "(others)"}
	if t.core.others.read(&others); others.Calls != nil {
		all = append(all, others)
	}
	return all
}

func (m *method) show() status.Method {
	shown := status.Method{
		Name: m.name, Idempotent: m.idempotent, Deadline: m.deadline.Seconds(), Breaker: shownMethodBreaker(m.breaker),
		P50: m.stats.latency.P50().Seconds(), P95: m.stats.latency.P95().Seconds(), P99: m.stats.latency.P99().Seconds(),
	}
	m.count.read(&shown)
	if shown.Calls == nil { // a counter that is not there yet has no rate
		shown.Calls = map[string]uint64{codeName(codes.OK): 0}
	}
	return shown
}

// show returns the limits of concurrency: the client's, that of its streams, and those of
// patterns.
func (l limits) show() (all []status.Limit) {
	add := func(scope string, l *limit.Limiter) {
		if l != nil {
			all = append(all, status.Limit{Scope: scope, InFlight: l.InFlight(), Waiting: l.Waiting(), Limit: l.Limit()})
		}
	}
	add("client", l.concurrency[""].Limiter)
	add("streams", l.streams.Limiter)
	for _, pattern := range slices.Sorted(maps.Keys(l.concurrency)) {
		if pattern != "" {
			add(pattern, l.concurrency[pattern].Limiter)
		}
	}
	return all
}

func (e *Explanation) show() status.BadCall {
	b := status.BadCall{
		At: e.ended(), Method: e.Call.Method, Took: e.Call.Took.Seconds(), Waited: e.Call.Waited.Seconds(),
		Code: codeName(codeOf(e.Call.Err)), Error: shownError(e.Call.Err), Denied: string(e.Call.Denied), Advice: e.Advice(),
	}
	for _, a := range e.Call.Attempts {
		b.Attempts = append(b.Attempts, status.Attempt{
			Number: a.Number, Instance: a.Instance, Address: a.Address, Hedge: a.Hedge,
			Began: a.Began.Seconds(), Queued: a.Queued.Seconds(), Took: a.Took.Seconds(),
			Executed: a.Executed, Verdict: a.Verdict.String(), CutOff: a.CutOff, Error: shownError(a.Err),
		})
	}
	return b
}

func shownError(err error) string {
	if err == nil {
		return ""
	}
	return event.Mask(err.Error())
}
