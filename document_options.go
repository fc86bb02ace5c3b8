package surecall

import (
	"maps"
	"slices"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/internal/strictjson"
	"github.com/surecall/surecall/retry"
)

// Options returns what d says, for [NewClient] or [Client.Update]: for all methods first,
// then for patterns. They overrule more specific options that were given before.
func (d PolicyDocument) Options() []LiveOption { return d.options(byCode) }

// options returns what d says. What it switches off is what by wants off, beside what others
// do: nobody switches on what another wants off.
func (d PolicyDocument) options(by string) []LiveOption {
	var opts []LiveOption
	if len(d.Disable) > 0 {
		opts = append(opts, disabledBy(by, d.Disable...))
	}
	for _, s := range d.says() {
		opts = append(opts, s.option)
	}
	for _, s := range d.MethodPolicies.says() {
		opts = append(opts, everywhere(s.option))
	}
	// In one document the longer pattern wins, whatever its place.
	for _, pattern := range slices.SortedFunc(maps.Keys(d.Methods), byLength) {
		m := d.Methods[pattern]
		var about []MethodOption
		for _, s := range m.says() {
			about = append(about, s.option)
		}
		opts = append(opts, overruling(pattern, about))
	}
	return opts
}

// Sets returns the keys that d has, sorted, with those of methods as
// methods."/orders.v1.Orders/Get".hedge.
func (d PolicyDocument) Sets() []string {
	var keys []string
	if len(d.Disable) > 0 {
		keys = append(keys, "disable")
	}
	for _, s := range d.says() {
		keys = append(keys, s.key)
	}
	for _, s := range d.MethodPolicies.says() {
		keys = append(keys, s.key)
	}
	for pattern, m := range d.Methods {
		for _, s := range m.says() {
			keys = append(keys, strictjson.Under(strictjson.Entry("methods", pattern), s.key))
		}
	}
	slices.Sort(keys)
	return keys
}

// said is a key that a document has, and the option that code would say it with.
type said[O LiveOption] struct {
	key    string
	option O
}

func (d *PolicyDocument) says() (all []said[LiveOption]) {
	add := func(key string, o LiveOption) {
		if o != nil {
			all = append(all, said[LiveOption]{key, o})
		}
	}
	add("shadow", either(d.Shadow, WithShadow, WithoutShadow))
	add("breaker", ofClient(d.Breaker, WithBreaker, WithoutBreaker))
	add("service_breaker", ofClient(d.ServiceBreaker, WithServiceBreaker, WithoutServiceBreaker))
	add("balancer", ofClient(Setting[balancer.Policy]{Value: d.Balancer}, WithBalancer, nil))
	add("retry_budget", ofClient(Setting[retry.BudgetPolicy]{Value: d.RetryBudget}, WithRetryBudget, nil))
	add("instance_concurrency", ofClient(d.InstanceConcurrency, WithInstanceConcurrency, WithoutInstanceConcurrency))
	add("instance_stream_concurrency", ofClient(d.InstanceStreamConcurrency, WithInstanceStreamConcurrency, WithoutInstanceStreamConcurrency))
	add("stream_concurrency", ofClient(d.StreamConcurrency, WithStreamConcurrency, WithoutStreamConcurrency))
	add("notifications", ofClient(Setting[NotifyPolicy]{Value: d.Notifications}, WithNotifications, nil))
	add("cache_bytes", ofClient(Setting[int]{Value: d.CacheBytes}, WithCacheBytes, nil))
	return all
}

func (m *MethodPolicies) says() (all []said[MethodOption]) {
	add := func(key string, o MethodOption) {
		if o != nil {
			all = append(all, said[MethodOption]{key, o})
		}
	}
	add("deadline", ofMethod(m.Deadline, WithCallDeadline, WithoutCallDeadline))
	add("attempt_timeout", ofMethod(m.AttemptTimeout, WithAttemptTimeout, WithoutAttemptTimeout))
	add("retry", ofMethod(m.Retry, WithRetry, WithoutRetry))
	add("hedge", ofMethod(m.Hedge, WithHedge, WithoutHedge))
	if o := either(m.Idempotent, AsIdempotent, AsNotIdempotent); o != nil {
		add("idempotent", o)
	}
	if o := either(m.CallID, WithCallID, WithoutCallID); o != nil {
		add("call_id", o)
	}
	add("concurrency", ofMethod(m.Concurrency, WithConcurrency, WithoutConcurrencyLimit))
	add("rate", ofMethod(m.Rate, WithRateLimit, WithoutRateLimit))
	add("throttle", ofMethod(m.Throttle, WithThrottle, WithoutThrottle))
	add("method_breaker", ofMethod(m.MethodBreaker, WithMethodBreaker, WithoutMethodBreaker))
	add("replay_buffer", ofMethod(m.ReplayBuffer, WithReplayBuffer, WithoutReplayBuffer))
	add("cache", ofMethod(m.Cache, WithCache, WithoutCache))
	if d := m.FallbackReserve; d != nil {
		add("fallback_reserve", WithFallbackReserve(*d))
	}
	return all
}

func ofClient[P any](s Setting[P], with func(P) LiveOption, without func() LiveOption) LiveOption {
	switch {
	case s.Off:
		return without()
	case s.Value != nil:
		return with(*s.Value)
	}
	return nil
}

func ofMethod[P any, O MethodOption](s Setting[P], with func(P) O, without func() CallOption) MethodOption {
	switch {
	case s.Off:
		return without()
	case s.Value != nil:
		return with(*s.Value)
	}
	return nil
}

func either[O LiveOption](is *bool, yes, no func() O) (none O) {
	switch {
	case is == nil:
		return none
	case *is:
		return yes()
	}
	return no()
}
