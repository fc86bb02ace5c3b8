package surecall

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surecall/surecall/event"
)

// WithShadow has the client compute all that it would do and do nothing of it: to try
// surecall on live traffic without risk. What a caller sees is what plain gRPC with
// round_robin would give: each instance that is connected in turn, without weights; one
// attempt of each call, with no deadline but the caller's own; no rejection, no second best,
// and errors as they come. [Client.Shadow] reports what would have been.
//
// It can be switched on and off by [Client.Update]; calls that have begun go on as they began.
// Breakers and the service's run dry and begin anew with either switch, and what a cache has
// kept is forgotten; what is learned of latencies, the budget and limits goes on.
//
// Errors are gRPC's own, the same values: for [Explain] they would have to be others, and so
// it returns nil for them. [Client.BadCalls] tells of the calls that failed.
//
// What it leaves alone: where instances come from (a [WithSource], a target, [WithLoss]) and
// what the connections are (surecall redials sooner than gRPC does by itself), but that one
// who is only there because the source is doubted gets no calls, and one that hangs keeps its
// connection. Instances are watched and probed as ever. A call that is pinned to an instance
// goes there, as that is no protection; keys of calls, options of [ForCall] and modes set by
// hand are not heeded. A notification has a deadline as ever. Attempts carry no metadata of
// surecall's, so that servers of package lifecycle answer as to any caller: what they would
// tell surecall alone, that they leave or did not execute a call, is not known.
func WithShadow() LiveOption { return live(func(s *settings) { s.shadow = true }) }

// WithoutShadow has the client do what it computes. It is the default.
func WithoutShadow() LiveOption { return live(func(s *settings) { s.shadow = false }) }

// effective returns s as it acts: in shadow mode the breakers run dry.
func (s *settings) effective() *settings {
	if !s.shadow {
		return s
	}
	e := *s
	if s.breaker != nil {
		dry := *s.breaker
		dry.DryRun, e.breaker = true, &dry
	}
	if s.service != nil {
		dry := *s.service
		dry.DryRun, e.service = true, &dry
	}
	return &e
}

// rehearsed returns what options say of a method as it is rehearsed in shadow mode.
func (s *settings) rehearsed(m methodSettings) methodSettings {
	if s.shadow && m.breaker != nil && !m.breaker.DryRun {
		dry := *m.breaker
		dry.DryRun, m.breaker = true, &dry
	}
	return m
}

// newPolicies compiles s. What old has learned and counted is kept.
func (c *core) newPolicies(s *settings, old *policies) *policies {
	s = s.effective()
	if s.shadow && (old == nil || !old.settings.shadow) {
		c.ledger.Store(newLedger(time.Now()))
	}
	p := c.compile(s, old)
	if s.shadow {
		silent, dry := *s, *p
		silent.events = nil // of what was only decided
		dry.settings, p.dry = &silent, &dry
	}
	return p
}

// ledger is what a client counts in shadow mode.
type ledger struct {
	since time.Time
	// now has ended: whoever asks with it for a slot or a turn does not wait.
	now context.Context

	mu      sync.Mutex
	methods map[string]*rehearsal // at most maxMethods
	others  *rehearsal            // of all methods that found no place
}

// rehearsal is what would have become of the calls of one method.
type rehearsal struct {
	calls, failed atomic.Uint64
	// would counts retries that would have followed, and those that would have been denied,
	// rejections and hedges.
	would   tally
	waits   atomic.Uint64 // calls that would have waited in a queue of ours
	expired atomic.Uint64 // calls that took longer than the call deadline that they would have had
	mended  atomic.Uint64 // calls that failed, and would have had another attempt
}

func newLedger(now time.Time) *ledger {
	ended, end := context.WithCancel(context.Background())
	end()
	return &ledger{since: now, now: ended, methods: map[string]*rehearsal{}, others: &rehearsal{}}
}

// of returns what is counted of a method.
func (l *ledger) of(method string) *rehearsal {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.methods[method]
	if r == nil {
		if len(l.methods) == maxMethods {
			return l.others
		}
		r = &rehearsal{}
		l.methods[method] = r
	}
	return r
}

// shadowMethod is a method in shadow mode.
type shadowMethod struct {
	*rehearsal
	method   *method // whose counters are the rehearsal's
	slotless *method // that, and no limits of concurrency
	now      context.Context
}

// shadow returns m as it is in shadow mode.
func (l *ledger) shadow(m *method) *shadowMethod {
	r := l.of(m.name)
	method := *m
	method.count = &r.would
	slotless := method
	slotless.concurrency = nil
	return &shadowMethod{r, &method, &slotless, l.now}
}

// reject counts a call that would have been rejected.
func (r *rehearsal) reject(reason error) { bump(r.would.rejected[:], rejectionReasons[:], reason) }

// retry counts a call, or its attempt, after which another would have followed.
func (r *rehearsal) retry(reason int, failed bool) {
	r.would.retry(reason)
	if failed {
		r.mended.Add(1)
	}
}

// deny counts a retry that would have been denied.
func (r *rehearsal) deny(why event.Denial) { r.would.deny(why) }
