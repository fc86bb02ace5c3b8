package surecall

import (
	"maps"
	"slices"
	"time"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/internal/strictjson"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// PolicyDocument is what a policy document says: JSON that steers running clients, from a
// file or Consul's KV store. Its zero value, and the document {}, say nothing.
//
//	{
//	  "deadline": "2s",
//	  "breaker": {"consecutive_failures": 3},
//	  "methods": {
//	    "/orders.v1.Orders/Get*": {"idempotent": true, "hedge": {"delay": "50ms"}},
//	    "/orders.v1.Orders/Place": {"retry": false}
//	  }
//	}
//
// Each key does what the option does that is named with its field, and has the fields of
// that option's policy, in lower case with underscores; one that is left out has its
// documented default. Durations are strings ("250ms"), codes are names ("UNAVAILABLE"), and
// false switches off what can be. Functions, and what a client is made with, cannot be
// said: only what [Client.Update] takes. docs/policy.schema.json is the schema, for editors.
//
// # Precedence
//
// What is in force is what code says (the options of [NewClient] and [Client.Update]), then
// the owner's document over it, then the caller's: see [WithOwnerPolicy] and
// [WithCallerPolicy]. Within one of these three the most specific pattern wins. Between
// them the later one does: what it says of a pattern, or of all methods, also holds where
// an earlier one was more specific. Concurrency and rate alone add up, the client's limit
// and that of a pattern.
//
// # What a document can do
//
// It changes how calls to its service are made: their deadlines, what is repeated, what is
// held back. Its owner decides those calls' answers anyway. It cannot change where
// instances are found, credentials, which code is called, or what calls to other services
// do. Of the caller's resources it can use memory ("cache_bytes", "notifications" and
// "replay_buffer", each at most 1 GiB) and attempts (at most 10 for a call). Who does not
// want that for himself gives the owner's document no option, or overrules it in his own.
//
// # What is refused
//
// A document of more than 256 KiB or 1,000 patterns, nested deeper than 16, not UTF-8, with
// an unknown key, a key twice, null, a number that is negative or above 2^30, a duration
// above 720h, or a policy that the option would refuse; and, where it is applied, policies
// that contradict each other. See [ParsePolicy].
type PolicyDocument struct {
	// Version is the version of this grammar: 1, which is also the default.
	Version int
	// Comment is for people, and may say anything.
	Comment string

	// Disable names protections that are off, beside those that code, the environment or
	// another document switch off: see WithDisabled.
	Disable []Protection

	// Breaker of each instance: WithBreaker, WithoutBreaker.
	Breaker Setting[breaker.Policy]
	// ServiceBreaker: WithServiceBreaker, WithoutServiceBreaker.
	ServiceBreaker Setting[breaker.ServicePolicy]
	// Balancer: WithBalancer.
	Balancer *balancer.Policy
	// RetryBudget: WithRetryBudget.
	RetryBudget *retry.BudgetPolicy
	// InstanceConcurrency, of unary attempts on each instance: WithInstanceConcurrency,
	// WithoutInstanceConcurrency.
	InstanceConcurrency Setting[limit.Concurrency]
	// InstanceStreamConcurrency: WithInstanceStreamConcurrency,
	// WithoutInstanceStreamConcurrency.
	InstanceStreamConcurrency Setting[limit.Concurrency]
	// StreamConcurrency, of the client: WithStreamConcurrency, WithoutStreamConcurrency.
	StreamConcurrency Setting[limit.Concurrency]
	// Notifications: WithNotifications.
	Notifications *NotifyPolicy
	// CacheBytes, of the client: WithCacheBytes.
	CacheBytes *int

	// MethodPolicies, whose keys stand beside those above, hold for all methods.
	MethodPolicies
	// Methods hold for those of a pattern as ForMethod takes it.
	Methods map[string]MethodPolicies
}

// MethodPolicies is what a [PolicyDocument] says of methods.
type MethodPolicies struct {
	// Deadline of calls whose caller set none: WithCallDeadline, WithoutCallDeadline.
	Deadline Setting[time.Duration]
	// AttemptTimeout: WithAttemptTimeout, WithoutAttemptTimeout.
	AttemptTimeout Setting[AttemptTimeout]
	// Retry: WithRetry, WithoutRetry.
	Retry Setting[retry.Policy]
	// Hedge: WithHedge, WithoutHedge.
	Hedge Setting[retry.Hedge]
	// Idempotent says whether methods may be executed twice: AsIdempotent,
	// AsNotIdempotent.
	Idempotent *bool
	// CallID: WithCallID, WithoutCallID.
	CallID *bool
	// Concurrency: WithConcurrency, WithoutConcurrencyLimit.
	Concurrency Setting[limit.Concurrency]
	// Rate: WithRateLimit, WithoutRateLimit.
	Rate Setting[limit.Rate]
	// Throttle: WithThrottle, WithoutThrottle.
	Throttle Setting[limit.Throttle]
	// MethodBreaker: WithMethodBreaker, WithoutMethodBreaker.
	MethodBreaker Setting[breaker.MethodPolicy]
	// ReplayBuffer, of each stream, in bytes: WithReplayBuffer, WithoutReplayBuffer.
	ReplayBuffer Setting[int]
	// Cache: WithCache, WithoutCache.
	Cache Setting[CachePolicy]
	// FallbackReserve: WithFallbackReserve.
	FallbackReserve *time.Duration
}

// Setting is what a document says of one policy. The zero value says nothing.
type Setting[P any] struct {
	Off   bool // it is switched off; false in JSON
	Value *P   // else what it is
}

// Set says that a policy is p.
func Set[P any](p P) Setting[P] { return Setting[P]{Value: &p} }

// Off says that a policy is switched off.
func Off[P any]() Setting[P] { return Setting[P]{Off: true} }

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
	add("idempotent", either(m.Idempotent, AsIdempotent, AsNotIdempotent))
	add("call_id", either(m.CallID, WithCallID, WithoutCallID))
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

func either(is *bool, yes, no func() CallOption) MethodOption {
	switch {
	case is == nil:
		return nil
	case *is:
		return yes()
	}
	return no()
}
