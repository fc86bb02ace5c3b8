package surecall

import (
	"errors"
	"strings"
	"time"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
)

// scoped is a policy whose state the methods of its scope share: those of a pattern of
// ForMethod, or with the scope "" all that the client calls.
type scoped[P any] struct {
	policy P
	scope  string
}

// limits is the state of the client's limits, by scope. A limit whose policy stays the
// same outlives changes of others.
type limits struct {
	concurrency map[string]concurrencyLimit
	rates       map[string]rateLimit
	streams     concurrencyLimit // its Limiter is nil: none, or it is switched off
	keptStreams concurrencyLimit // switched off or not
}

type (
	concurrencyLimit struct {
		*limit.Limiter
		policy limit.Concurrency
	}
	rateLimit struct {
		*limit.RateLimiter
		policy limit.Rate
	}
)

// newLimits returns the limits of s, and takes over those of old that it has too.
func (c *core) newLimits(s *settings, old limits) limits {
	now := time.Now()
	l := limits{concurrency: map[string]concurrencyLimit{}, rates: map[string]rateLimit{}, keptStreams: c.newStreamLimit(s.streams, old.keptStreams)}
	if !s.off().has(ProtectionConcurrency) {
		l.streams = l.keptStreams
	}
	scopes := []methodSettings{s.base}
	for _, pattern := range s.patterns() {
		scopes = append(scopes, s.says(pattern))
	}
	for _, m := range scopes {
		if p := m.concurrency; p != nil {
			l.concurrency[p.scope] = c.newConcurrency(*p, old.concurrency[p.scope])
		}
		if p := m.rate; p != nil {
			l.rates[p.scope] = newRate(p.policy, old.rates[p.scope], now)
		}
	}
	return l
}

// newConcurrency returns the limit of a scope, which is old with what is in flight if not
// more than its number changes.
func (c *core) newConcurrency(p scoped[limit.Concurrency], old concurrencyLimit) concurrencyLimit {
	before, after := old.policy, p.policy
	if old.Limiter != nil && before.Limit > 0 && after.Limit > 0 {
		old.SetLimit(after.Limit)
		before.Limit = after.Limit
	}
	if old.Limiter == nil || before != after {
		old.Limiter = limit.NewLimiter(after, c.defaultLimit, c.crowded(p.scope))
	}
	old.policy = after
	return old
}

// newRate returns the rate limit of a scope, which is old with what was used up of it.
func newRate(p limit.Rate, old rateLimit, now time.Time) rateLimit {
	if old.RateLimiter == nil {
		return rateLimit{limit.NewRateLimiter(p, now), p}
	}
	if old.policy != p {
		old.SetPolicy(p, now)
	}
	old.policy = p
	return old
}

func (l limits) concurrencyOf(m methodSettings) []*limit.Limiter {
	if m.concurrency == nil {
		return nil
	}
	return holding(l.concurrency, m.concurrency.scope, func(c concurrencyLimit) *limit.Limiter { return c.Limiter })
}

func (l limits) ratesOf(m methodSettings) []*limit.RateLimiter {
	if m.rate == nil {
		return nil
	}
	return holding(l.rates, m.rate.scope, func(r rateLimit) *limit.RateLimiter { return r.RateLimiter })
}

// holding returns what holds in a scope, the narrowest first: who waits under it must not
// hold a slot of the wider one.
func holding[S, L any](states map[string]S, scope string, of func(S) L) (held []L) {
	if scope != "" {
		held = append(held, of(states[scope]))
	}
	if client, ok := states[""]; ok {
		held = append(held, of(client))
	}
	return held
}

// perInstance is what each known instance adds to the default limit of a client's unary
// attempts: Envoy's and gRPC's 1,024 are too few for a client of many.
const perInstance = 100

func (c *core) defaultLimit() int { return max(limit.DefaultLimit, perInstance*c.fleet.Known()) }

// crowded returns what tells that a limit is near.
func (c *core) crowded(scope string) func(inFlight, limit int) {
	if scope == "" {
		scope = "client"
	}
	return func(inFlight, limit int) {
		c.emit(event.LimitNear{Service: c.service, Scope: scope, InFlight: inFlight, Limit: limit})
	}
}

// ask is what the call says of itself under a limit.
func (t *tries) ask() limit.Ask {
	ask := limit.Ask{Priority: limit.FromContext(t.ctx), Need: t.method.stats.latency.P50()}
	if t.hasDeadline {
		ask.Deadline = t.deadline
	}
	return ask
}

// acquire takes a slot under each limit of concurrency, waiting where its policy has a
// queue. It returns the time at which it has them all, or gave up.
func (t *tries) acquire(now time.Time) (time.Time, error) {
	for n, l := range t.method.concurrency {
		if l.TryAcquire() {
			continue
		}
		if err := l.Acquire(t.ctx, t.ask(), now); err != nil {
			t.release(n)
			return time.Now(), t.refused(ErrConcurrency, err)
		}
		now = time.Now()
	}
	return now, nil
}

// tryAcquire takes the slots if that needs no wait and leaves room for other calls.
func (t *tries) tryAcquire() bool {
	for n, l := range t.method.concurrency {
		if !l.TryAcquire() {
			t.release(n)
			return false
		}
	}
	return true
}

// release gives back the first n slots.
func (t *tries) release(n int) {
	for _, l := range t.method.concurrency[:n] {
		l.Release()
	}
}

// sample tells adaptive limits what an attempt's end says of the load, and gives its slots
// back.
func (t *tries) sample(at *balancer.Attempt, o limit.Outcome, elapsed time.Duration, now time.Time) {
	at.Measured(o, elapsed, now)
	for _, l := range t.method.concurrency {
		l.Sample(limit.Sample{Elapsed: elapsed, Outcome: o}, now)
		l.Release()
	}
}

// refused is the error of a call that a limit of ours refused, or whose context ended in
// its queue.
func (t *tries) refused(reason, err error) error {
	if t.ctx.Err() != nil && !isExceeded(err) {
		return deadlineError(err, "while it waited under a "+strings.TrimPrefix(reason.Error(), "surecall: "))
	}
	r := &Rejection{Reason: reason, Service: t.core.service, Method: t.method.name, Cause: err}
	if rate, ok := asRateError(err); ok {
		r.RetryAfter = rate.RetryAfter
	}
	return r
}

func isExceeded(err error) bool { return errors.Is(err, limit.ErrExceeded) }

func asRateError(err error) (*limit.RateError, bool) {
	var r *limit.RateError
	ok := errors.As(err, &r)
	return r, ok
}

func newThrottle(p *limit.Throttle) *limit.Throttler {
	if p == nil {
		return nil
	}
	return limit.NewThrottler(*p, time.Now())
}

// newMethodBreaker returns the breaker of a method, in the mode that was set by hand for
// the one before.
func (c *core) newMethodBreaker(name string, p *breaker.MethodPolicy, before *breaker.Method) *breaker.Method {
	if p == nil {
		return nil
	}
	b := breaker.NewMethod(*p, func(change breaker.Change) {
		c.emit(event.MethodBreakerChanged{
			Service: c.service, Method: name,
			From: change.From.String(), To: change.To.String(), DryRun: change.DryRun, Why: change.Why,
		})
	})
	if before != nil {
		b.SetMode(before.Counts().Mode)
	}
	return b
}
