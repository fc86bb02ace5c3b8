package surecall

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/answers"
)

// secondSettings is what options say of what answers a method's calls when its instances
// do not.
type secondSettings struct {
	cache     *CachePolicy // with its defaults; nil: none
	named     bool         // the cache is for this method by its name
	alternate grpc.ClientConnInterface
	fallback  *fallback
	when      func(error) bool // nil: unanswered
	reserve   time.Duration
}

// any reports whether there is a second best at all, tuned whether options say when it
// answers or how long it has.
func (s *secondSettings) any() bool   { return s.cache != nil || s.alternate != nil || s.fallback != nil }
func (s *secondSettings) tuned() bool { return s.when != nil || s.reserve > 0 }

// secondBest is secondSettings, compiled.
type secondBest struct {
	cache     *cache // nil: none
	alternate grpc.ClientConnInterface
	fallback  *fallback
	when      func(error) bool
	reserve   time.Duration
}

// secondStats is what of it outlives changes of policy.
type secondStats struct {
	unfit    atomic.Bool // it was told that the fallback does not fit
	uncached atomic.Bool // it was told that calls are not cached
}

// newSecondBest returns what r says of the method of that name; nil: it has no second
// best. old is the method as it was.
func newSecondBest(name string, r *methodSettings, old *method) *secondBest {
	s := &r.second
	var kept *cache
	if s.cache != nil {
		kept = newCache(name, r, old)
	}
	if kept == nil && s.alternate == nil && s.fallback == nil {
		return nil
	}
	b := &secondBest{cache: kept, alternate: s.alternate, fallback: s.fallback, when: s.when, reserve: s.reserve}
	if b.when == nil {
		b.when = unanswered
	}
	return b
}

// secondCall is one call of a method that has a second best.
type secondCall struct {
	*secondBest
	core   *core
	state  *policies
	method *method
	asked  asked
	rpc    rpc
	ctx    context.Context // the caller's
	short  context.Context // less what is reserved
	began  time.Time

	fetched bool         // the instances were asked
	failure *Explanation // of their failure; nil: they did not fail, or were not asked
	by      event.SecondBest
	age     time.Duration

	key   string // of the cache
	keeps bool   // the cache is for this call
}

// inquiry is what came of asking the instances, and the alternate if they failed: for the
// call that asked, and for those that waited for it. Its zero value says nothing to those.
type inquiry struct {
	err      error
	answer   *answers.Answer // for the cache; nil: there is none
	cause    error           // what the instances said, if the alternate answered
	executed bool            // an instance may have executed it
	tried    bool            // the alternate has failed, too
	own      bool            // for what is the own end of the call that tried
}

// withSecondBest makes a call of a method that has a second best. The order:
//
//	fresh cache   an instance need not be asked
//	instances     with all that protects the call
//	alternate     an answer of now, if not of here
//	stale cache   the last answer, if not of now
//	fallback      what the caller makes up
//
// It stands outside the call deadline, and all after the instances runs on the caller's
// context: the commonest final failure is that the call deadline was used up.
func (c *core) withSecondBest(ctx context.Context, state *policies, m *method, asked asked, r rpc, began time.Time) error {
	if pinned(routeOf(ctx)) {
		_, err := c.call(ctx, state, m, asked, r, began, began) // no other answer is wanted than that instance's
		return err
	}
	s := secondCall{secondBest: m.second, core: c, state: state, method: m, asked: asked, rpc: r, ctx: ctx, began: began}
	return s.explained(s.make())
}

// make makes the call.
func (s *secondCall) make() error {
	ctx := s.ctx
	var cancel context.CancelFunc
	s.short, cancel = s.reserved(ctx)
	defer cancel()
	if s.cache != nil {
		s.key, s.keeps = s.keyOf()
	}
	o := s.ask()
	if !s.fetched {
		s.method.count.made(0)
	}
	if o.cause != nil || !s.failed(o.err) {
		return o.err
	}
	if ctx.Err() == context.Canceled {
		return o.err // the caller has left: it needs no answer
	}
	if s.byStale(o.err) {
		return nil
	}
	return s.byFallback(ctx, o.err)
}

// failed reports whether err is a failure that second best is for.
func (s *secondCall) failed(err error) bool { return err != nil && !s.closed() && s.when(err) }

// closed reports whether the client is.
func (s *secondCall) closed() bool {
	return s.rpc.conn != nil && s.rpc.conn.GetState() == connectivity.Shutdown
}

// fetch asks the instances, and the alternate if they fail. What they answer is kept.
func (s *secondCall) fetch() inquiry {
	began := time.Now()
	s.fetched = true
	executed, err := s.core.call(s.short, s.state, s.method, s.asked, s.rpc, s.began, began)
	s.failure = Explain(err)
	switch {
	case err == nil:
		a := s.pack(began, 0)
		s.keep(a)
		return inquiry{answer: a}
	case isAnswer(status.Code(err)):
		s.forget(began)
	case s.short.Err() == context.DeadlineExceeded && s.ctx.Err() == nil && status.Code(err) == codes.DeadlineExceeded:
		err = rephrased(err, deadlineError(err, fmt.Sprintf("at its deadline, less a reserve of at most %v", s.reserve)))
	}
	return s.orAlternate(inquiry{err: err, executed: executed})
}

// reserved returns ctx with what is reserved cut off.
func (s *secondCall) reserved(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, has := ctx.Deadline()
	if s.reserve == 0 || !has {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline.Add(-min(s.reserve, max(0, time.Until(deadline)/2))))
}

// bounded returns ctx with the call deadline of what began then, if it has no deadline.
func (s *secondCall) bounded(ctx context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has || s.method.deadline == 0 {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, began.Add(s.method.deadline))
}

// byFallback returns what the fallback makes of cause.
func (s *secondCall) byFallback(ctx context.Context, cause error) error {
	f := s.fallback
	if f == nil {
		return cause
	}
	if !f.fits(s.rpc.req, s.rpc.reply) {
		if s.method.stats.second.unfit.CompareAndSwap(false, true) {
			s.warn(fmt.Sprintf("WithFallback takes %v and returns %v: %q was called with %T and %T",
				f.request, f.reply, s.method.name, s.rpc.req, s.rpc.reply))
		}
		return cause
	}
	err := f.call(ctx, s.rpc.req, s.rpc.reply, cause)
	if err == nil {
		s.served(event.Fallback, 0, cause)
	}
	return err
}

// The keys of the metadata that tells a caller, through grpc.Header or grpc.Trailer, that
// it got second best.
const (
	// ServedByKey is who answered: an event.SecondBest.
	ServedByKey = "surecall-served-by"
	// AgeKey is how old an answer from a cache is, the alternate's own included, in
	// seconds, "0.250" say.
	AgeKey = "surecall-age"
)

// served tells whoever wants to know that the call got second best.
func (s *secondCall) served(by event.SecondBest, age time.Duration, cause error) {
	if t := s.asked.trace; t != nil {
		t.SecondBest, t.Age = by, age
	}
	s.by, s.age = by, age
	bump(s.method.count.second[:], secondBests[:], by)
	for _, o := range s.rpc.opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = told(*o.HeaderAddr, by, age)
		case grpc.TrailerCallOption:
			*o.TrailerAddr = told(*o.TrailerAddr, by, age)
		}
	}
	if h := s.state.settings.events; h != nil {
		h(event.CallServedSecondBest{Service: s.core.service, Method: s.method.name, By: by, Age: age, Cause: cause})
	}
}

// explained returns err, which the call ended with, with the story of this call: what its own
// attempts met, or if it had none, and waited for another call, those of that one. What
// failed before second best answered is kept.
func (s *secondCall) explained(err error) error {
	if err == nil && s.failure == nil {
		return nil
	}
	how := &Explanation{}
	if told := cmp.Or(s.failure, Explain(err)); told != nil {
		*how = *told
	} else if deadline, has := s.ctx.Deadline(); has {
		how.Deadline = deadline.Sub(s.began)
	} else {
		how.Deadline, how.OwnDeadline = s.method.deadline, s.method.deadline > 0
	}
	how.Service, how.Idempotent = s.core.service, s.method.idempotent
	how.Call.Method, how.Call.Began, how.Call.Took = s.method.name, s.began, time.Since(s.began)
	how.Call.SecondBest, how.Call.Age, how.Call.Err = s.by, s.age, unexplained(err)
	if !s.fetched {
		how.Call.Waited = how.Call.Took
	}
	if err != nil {
		return &callError{how.Call.Err, how}
	}
	if isBad(s.failure.Call.Err) {
		s.core.recorder.mended.add(how.bounded())
	}
	return nil
}

// told returns the metadata of an answer: an alternate's own, and what is said of it. What a
// failed instance sent is not the answer's.
func told(md metadata.MD, by event.SecondBest, age time.Duration) metadata.MD {
	answer := metadata.MD{}
	if by == event.Alternate && md != nil {
		answer = md.Copy() // gRPC's own
	}
	answer.Set(ServedByKey, string(by))
	if by == event.FreshCache || by == event.StaleCache || age > 0 {
		answer.Set(AgeKey, strconv.FormatFloat(age.Seconds(), 'f', 3, 64))
	}
	return answer
}

func (s *secondCall) warn(what string) {
	if h := s.state.settings.events; h != nil {
		h(event.ConfigWarning{Service: s.core.service, What: what})
	}
}
