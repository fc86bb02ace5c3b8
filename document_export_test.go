package surecall

import (
	"context"
	"time"

	"github.com/surecall/surecall/internal/strictjson"
)

// EffectivePolicy returns what is in force, as a document: the client's own policies, and
// those of methods by their names. What is off is off there, and nothing is left out but
// functions.
func EffectivePolicy(c *Client, methods ...string) PolicyDocument {
	s := c.core.state.Load().settings
	d := PolicyDocument{
		Disable: s.off().list(), Breaker: settingOf(s.breaker), ServiceBreaker: settingOf(s.service), Balancer: &s.balancer, RetryBudget: &s.budget,
		InstanceConcurrency: settingOf(s.instance), InstanceStreamConcurrency: settingOf(s.instanceStreams), StreamConcurrency: settingOf(s.streams),
		Notifications: &s.notify, CacheBytes: &s.cacheBytes,
		MethodPolicies: policiesOf(s.base), Methods: map[string]MethodPolicies{},
	}
	for _, name := range methods {
		d.Methods[name] = policiesOf(s.resolve(name))
	}
	return d
}

func policiesOf(m methodSettings) MethodPolicies {
	p := MethodPolicies{
		AttemptTimeout: settingOf(m.attempt), Retry: settingOf(m.retry), Hedge: settingOf(m.hedge), Idempotent: m.idempotent, CallID: &m.callID,
		Throttle: settingOf(m.throttle), MethodBreaker: settingOf(m.breaker), Cache: settingOf(m.second.cache), FallbackReserve: &m.second.reserve,
		Deadline: Set(m.deadline), ReplayBuffer: Set(m.replay),
	}
	if m.concurrency != nil {
		p.Concurrency = Set(m.concurrency.policy)
	}
	if m.rate != nil {
		p.Rate = Set(m.rate.policy)
	}
	return p
}

func settingOf[P any](p *P) Setting[P] { return Setting[P]{Off: p == nil, Value: p} }

// InForce tells whether anything was put in force since it was called before: its results
// differ then.
func InForce(c *Client) any { return c.core.state.Load() }

// Deadline is how long calls of a method may take.
func Deadline(c *Client, method string) time.Duration {
	return c.core.state.Load().methods.find(method).deadline
}

// StreamDeadline is how long streams of a method may take; 0: for ever.
func StreamDeadline(c *Client, method string) time.Duration {
	return c.core.state.Load().methods.find(method).streams
}

// HeadersKnown is how many headers of calls are remembered.
func HeadersKnown(c *Client) int {
	c.core.header.mu.Lock()
	defer c.core.header.mu.Unlock()
	return len(c.core.header.known)
}

// HeaderOver is what a client does with each call that may have a header of that name.
func HeaderOver(name string) func(context.Context) int {
	h := newPolicyHeader(name)
	return func(ctx context.Context) int { return len(h.over(ctx, nil)) }
}

// DocumentFormat says how the types of policies are written in documents.
func DocumentFormat() strictjson.Format { return documentFormat() }

// Agrees reports whether a document could be applied to a client without options.
func Agrees(d PolicyDocument) error {
	_, err := defaultSettings().updated(d.Options())
	return err
}
