package surecall

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/internal/quantile"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// maxMethods bounds the table: a program calls a few hundred methods, one that makes
// names up must not grow it for ever. What does not fit gets its policy anew each time.
const maxMethods = 4096

// method is one method under one set of policies.
type method struct {
	name       string
	deadline   time.Duration // 0: none
	streams    time.Duration // the deadline of streams; 0: none
	attempt    *AttemptTimeout
	retry      retry.Policy
	hedge      *retry.Hedge // nil: none
	idempotent bool
	callID     bool
	replay     int         // bytes kept of a stream; 0: none
	second     *secondBest // nil: none
	stats      *methodStats

	concurrency []*limit.Limiter // the narrowest first
	rates       []*limit.RateLimiter
	throttle    *limit.Throttler // nil: none
	breaker     *breaker.Method  // nil: none
	kept        keptState        // of what may be switched off
	shadow      *shadowMethod    // in shadow mode
	settings    methodSettings
	count       *tally
}

// methodStats is what is learned of a method. It outlives changes of policy.
type methodStats struct {
	latency quantile.Sketch
	blame   *breaker.Blame
	second  secondStats
	count   tally
}

// statsOf returns what is learned of a method of that name, for as long as there is room: the
// same to calls that meet it first while an update replaces the table, under either policy.
func (c *core) statsOf(name string) *methodStats {
	c.learning.Lock()
	defer c.learning.Unlock()
	s := c.learned[name]
	if s == nil {
		s = &methodStats{blame: breaker.NewBlame()}
		if len(c.learned) < maxMethods {
			c.learned[name] = s
		}
	}
	return s
}

// p99 returns the method's 99th percentile, or 0 while it is not known.
func (s *methodStats) p99() time.Duration {
	if s.latency.Samples() < learnedFrom {
		return 0
	}
	return s.latency.P99()
}

// patience returns how long an attempt may wait before its instance is suspected.
func (s *methodStats) patience() time.Duration {
	if s.latency.Samples() < learnedFrom {
		return unlearnedPatience
	}
	return max(minPatience, DefaultAttemptMultiple*s.latency.P99())
}

// teaches returns the most that the answer of an attempt that begins now may teach:
// once a hang ends, every call that it held answers with the length of the hang, and
// attempt timeouts learned from that would have the next hang felt in full. A method
// that is slower for good is learned in a few such steps.
func (s *methodStats) teaches() time.Duration {
	if s.latency.Samples() < learnedFrom {
		return forever
	}
	return max(DefaultAttemptMin, DefaultAttemptMultiple*s.latency.P99())
}

// methods is the table of a client's methods: one map lookup in an immutable map. It
// is copied when a method is called for the first time.
type methods struct {
	core     *core
	settings *settings
	limits   limits
	table    atomic.Pointer[map[string]*method]
	mu       sync.Mutex // one copy at a time
}

// newMethods returns a table under s that keeps what old has learned.
func (c *core) newMethods(s *settings, old *methods) *methods {
	t := &methods{core: c, settings: s}
	table, cached := map[string]*method{}, false
	if old == nil {
		t.limits = c.newLimits(s, limits{})
	} else {
		t.limits = c.newLimits(s, old.limits)
		for name, m := range *old.table.Load() {
			table[name] = t.newMethod(name, s.resolve(name), m)
			cached = cached || table[name].caches()
		}
		if !cached || s.cacheActs() != old.settings.cacheActs() {
			c.answers.Clear() // with either switch: a call that began before may have filled it since
		}
	}
	t.table.Store(&table)
	return t
}

func (t *methods) find(name string) *method {
	if m := (*t.table.Load())[name]; m != nil {
		return m
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.table.Load()
	if m := old[name]; m != nil {
		return m
	}
	m := t.newMethod(name, t.settings.resolve(name), nil)
	if len(old) < maxMethods {
		table := maps.Clone(old)
		table[name] = m
		t.table.Store(&table)
	} else {
		m.count = &t.core.others
	}
	return m
}

// recovered tells that the service as a whole is back.
func (t *methods) recovered() {
	for _, m := range *t.table.Load() {
		m.stats.blame.Forget()
		if m.kept.breaker != nil {
			m.kept.breaker.Reset() // it opened for what the service did
		}
	}
}

// under returns the method under further options, those of one call.
func (t *methods) under(name string, opts []CallOption) (*method, error) {
	m := t.find(name)
	if opts == nil {
		return m, nil
	}
	r, says := t.settings.resolve(name), methodSettings{scope: name}
	r.scope = name
	for n, o := range opts {
		if o == nil {
			return nil, status.Errorf(codes.InvalidArgument, "surecall: ForCall: option %d is nil", n)
		}
		o.call(&r)
		o.call(&says)
	}
	if err := errors.Join(r.takeErr(), r.contradicts(name, &says)); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "surecall: %s: %v", cmp.Or(says.from, "ForCall"), err)
	}
	return t.newMethod(name, r, m), nil
}

// newMethod compiles what options say, less what is switched off. What old has learned and
// counted is kept; nil: there is none.
func (t *methods) newMethod(name string, said methodSettings, old *method) *method {
	said = t.settings.rehearsed(said)
	r := t.settings.withoutDisabled(said)
	old = old.whole()
	m := &method{
		name: name, deadline: r.deadline, retry: r.retry.WithDefaults(), hedge: r.hedge, callID: r.callID, replay: r.replay, streams: r.streams, settings: said,
		concurrency: t.limits.concurrencyOf(r), rates: t.limits.ratesOf(r),
	}
	if old == nil {
		old = &method{stats: t.core.statsOf(name)}
	}
	m.stats, m.count = old.stats, old.count
	if m.count == nil {
		m.count = &m.stats.count
	}
	if m.throttle = old.throttle; !same(r.throttle, old.settings.throttle) {
		m.throttle = newThrottle(r.throttle)
	}
	if m.breaker = old.breaker; !same(r.breaker, old.settings.breaker) {
		m.breaker = t.core.newMethodBreaker(name, r.breaker, old.breaker)
	}
	if r.attempt != nil {
		t := r.attempt.withDefaults()
		m.attempt = &t
	}
	m.second = newSecondBest(name, &r, old)
	m.idempotent = r.isIdempotent(name)
	m.keep(t.settings.off())
	if t.settings.shadow {
		m.shadow = t.core.ledger.Load().shadow(m)
	}
	return m
}

// within returns m with the call deadline d.
func (m *method) within(d time.Duration) *method {
	short := *m
	short.deadline = d
	return &short
}

// same reports whether two policies, nil for none, are equal.
func same[P comparable](a, b *P) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// unmatched returns the patterns that name no method of the linked descriptors.
func unmatched(s *settings) []string {
	if len(s.rules) == 0 {
		return nil
	}
	var names []string
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for j := range service.Methods().Len() {
				names = append(names, fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name()))
			}
		}
		return true
	})
	var none []string
	for _, r := range s.rules {
		if !anyMatches(r.pattern, names) {
			none = append(none, r.pattern)
		}
	}
	return none
}

func anyMatches(pattern string, names []string) bool {
	for _, name := range names {
		if matches(pattern, name) {
			return true
		}
	}
	return false
}
