package surecall

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
)

// shadowUnary makes a unary call as plain gRPC does, and has all steps of the chain decide
// beside it, with no effect on the call. gRPC gets the caller's own options, all of them.
func (c *core) shadowUnary(ctx context.Context, state *policies, name string, r rpc, now time.Time) error {
	asked := shadowAsked(r)
	asked.trace.begin(name, now)
	if o := state.settings.observer; o != nil {
		ctx = asked.observedBy(ctx, o, c.service, name, now)
	}
	m := c.shadowed(ctx, state, name, asked.policies)
	if _, has := ctx.Deadline(); !has && asked.notifies {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultCallDeadline)
		defer cancel()
	}
	u := &unaryCall{tries: c.shadowTries(ctx, state, m, &asked, m.shadow.method.deadline, now), rpc: r}
	rejected := u.rehearse(m.shadow, now)
	a := &u.first
	u.begin(a, now)
	u.attempts = uint32(a.number)
	a.attempt.Begun = c.fleet.At(now)
	u.observed(&a.attempt, a.note)
	if rejected == nil {
		a.hedge = u.newHedge(a)
	}
	err := r.invoker(&a.attempt, name, r.req, r.reply, r.conn, r.opts...)
	u.conclude(m.shadow, a, err, rejected)
	u.leaveShadow(&a.attempt, rejected, err)
	c.endShadow(m, &u.tries, &asked, err)
	return err
}

// shadowAsked reads what the caller asked for. gRPC tells it of the end, as it does without us.
func shadowAsked(r rpc) (a asked) {
	a.read(r.opts)
	a.finish = nil
	return a
}

// shadowed returns the method under further options, those of one call; if they are wrong,
// without them: a call must not fail for them.
func (c *core) shadowed(ctx context.Context, state *policies, name string, opts []CallOption) *method {
	if c.header != nil {
		opts = c.header.over(ctx, opts)
	}
	if m, err := state.methods.under(name, opts); err == nil {
		return m
	}
	return state.methods.find(name)
}

// shadowTries is what decides beside the call: with the deadline that the call would have.
func (c *core) shadowTries(ctx context.Context, state *policies, m *method, asked *asked, deadline time.Duration, now time.Time) tries {
	end, has := ctx.Deadline()
	ours := !has && deadline > 0
	if ours {
		end, has = now.Add(deadline), true
	}
	return tries{
		core: c, state: state.dry, method: m.shadow.method,
		ctx: ctx, began: now, deadline: end, hasDeadline: has, deadlineOurs: ours,
		route: routeOf(ctx), waits: asked.waits, how: asked.story(),
	}
}

// rehearse asks all that a call passes on its way in, and waits for nothing. It returns why
// the call would have been rejected, or nil.
func (t *tries) rehearse(s *shadowMethod, now time.Time) (rejected error) {
	s.calls.Add(1)
	if rejected = t.wouldReject(s, now); rejected != nil {
		s.reject(rejected)
		t.method = s.slotless
	} else if t.method.retry.MaxAttempts > 1 {
		t.state.budget.Deposit(now)
	}
	return rejected
}

// leaveShadow is leave, for a call that would have got that far. One that the method's
// breaker would have rejected was made all the same: it may show that the method is well,
// as a trial would.
func (t *tries) leaveShadow(at *balancer.Attempt, rejected, err error) {
	if rejected != nil && rejected != ErrMethodDown || at.WouldRefuse() || at.Instance() == nil {
		return
	}
	if err != nil { // else a stream has only begun, and may end beside this
		t.local = isLocal(at, err)
	}
	t.leave(err)
}

// wouldReject returns why the call would have been rejected, or nil.
func (t *tries) wouldReject(s *shadowMethod, now time.Time) error {
	m := t.method
	for n, r := range m.rates {
		if err := r.Take(s.now, t.ask(), now); err != nil {
			if !isExceeded(err) {
				s.waits.Add(1) // its turn would have come
				continue
			}
			for _, taken := range m.rates[:n] {
				taken.Return(now)
			}
			return ErrRateLimited
		}
	}
	if m.throttle != nil && !m.throttle.Allow(limit.FromContext(t.ctx), now, rand.Float64()) {
		return ErrThrottled
	}
	if service := t.state.service; service != nil && service.Decided() == breaker.StateOpen && !t.waits {
		return ErrServiceDown
	}
	if m.breaker != nil {
		var ok bool
		if t.gate.entry, ok = m.breaker.Enter(now); !ok || m.breaker.Decided() == breaker.StateOpen {
			return ErrMethodDown
		}
	}
	for n, l := range m.concurrency {
		if l.TryAcquire() || l.Acquire(s.now, t.ask(), now) == nil {
			continue
		}
		t.release(n)
		if !l.Queues() {
			return ErrConcurrency
		}
		s.waits.Add(1)
		t.method = s.slotless
		return nil
	}
	return nil
}

// conclude learns from the attempt's end, and decides what would have followed: nothing, if
// the call would have been rejected.
func (u *unaryCall) conclude(s *shadowMethod, a *unaryAttempt, err error, rejected error) {
	now, at := time.Now(), &a.attempt
	i := at.Instance()
	if u.deadlineOurs && now.After(u.deadline) {
		s.expired.Add(1)
	}
	if err != nil {
		s.failed.Add(1)
	}
	if rejected == nil && at.WouldRefuse() {
		rejected = ErrConcurrency
		s.reject(rejected)
	}
	if rejected != nil || i == nil {
		a.hedge = nil // it is never sent
		u.judge(a, err, now)
		u.traced(at, a.note, err)
		return
	}
	picked := u.began.Add(time.Duration(at.Picked() - u.core.fleet.At(u.began)))
	hung := i.Hung()
	hedged := u.wouldHedge(s, a, i, picked, now)
	decided := u.wouldCut(s, a, err, hung, hedged, picked, now)
	if a.cutShort {
		u.judgeCut(a, err, now)
		return
	}
	u.judge(a, err, now)
	u.traced(at, a.note, err)
	if err == nil || decided {
		return
	}
	if _, again := u.next(at, err, false, false, now); again {
		s.retry(int(known(codeOf(err))), true)
	}
}

// judgeCut judges an attempt that would have been cut: as if it had been. If its method is
// as slow on most instances, what it took is learned, as it would be from the last of
// several attempts.
func (u *unaryCall) judgeCut(a *unaryAttempt, err error, now time.Time) {
	asked, elapsed := a.note != nil, time.Duration(u.core.fleet.At(now)-a.attempt.Picked())
	u.judge(a, errWouldCut, now)
	verdict := a.note.Verdict
	a.note.CutOff = false // it was not
	if asked || err != nil {
		u.traced(&a.attempt, a.note, err)
	}
	if err != nil {
		return
	}
	if u.state.service != nil {
		u.state.service.Success(now)
	}
	if verdict == breaker.Ignored && !a.hung {
		u.method.stats.latency.Add(min(elapsed, a.teaches), u.core.fleet.At(now))
	}
}

// errWouldCut is what the instance of an attempt that would have been cut is judged by.
var errWouldCut = status.Error(codes.DeadlineExceeded, "surecall: the attempt would have been cut")

// wouldHedge reports whether a hedge would have been sent beside a.
func (u *unaryCall) wouldHedge(s *shadowMethod, a *unaryAttempt, i *balancer.Instance, picked, now time.Time) bool {
	h := a.hedge
	a.hedge = nil // it is never sent
	if h == nil || now.Sub(picked) < h.delay || !u.mayHave(picked.Add(h.delay)) {
		return false
	}
	h.second.attempt.Fleet, h.second.attempt.Prior = u.core.fleet, balancer.TriedOn(i)
	if !u.core.fleet.Another(&h.second.attempt) || !u.state.budget.Withdraw(now) {
		return false
	}
	s.would.hedges.Add(1)
	return true
}

// wouldCut decides of an attempt that took longer than it would have been given, or whose
// instance hangs. It reports whether there was anything to decide.
func (u *unaryCall) wouldCut(s *shadowMethod, a *unaryAttempt, err error, hung, hedged bool, picked, now time.Time) (decided bool) {
	m, why := u.method, afterTimeout
	if m.retry.MaxAttempts == 1 || pinned(u.route) {
		return false
	}
	timeout, learned := u.timeout(true, picked)
	if hung && u.core.fleet.Elsewhere(a.attempt.Instance()) {
		why, learned = afterHang, true
		timeout = min(timeout, a.attempt.Patience+foundOut)
	} else if m.attempt == nil {
		return false
	}
	cutAt := picked.Add(timeout)
	switch {
	case now.Before(cutAt) || !u.mayHave(cutAt):
		return false
	case !m.idempotent:
		if status.Code(err) != codes.DeadlineExceeded {
			return false // it had its answer
		}
		s.deny(event.NotIdempotent)
	case !hedged && !u.state.budget.Withdraw(now):
		s.deny(event.BudgetEmpty)
	default:
		a.learned, a.cutShort, a.hung = learned, true, why == afterHang
		s.retry(why, err != nil)
	}
	return true
}

// foundOut is how long after its patience is over an attempt may know that its instance
// hangs: a probe takes that long.
const foundOut = 100 * time.Millisecond

// mayHave reports whether another attempt could have been made then.
func (u *unaryCall) mayHave(then time.Time) bool {
	return u.timeFor(then, 0) && !chainStopped(u.ctx) && (u.state.service == nil || u.state.service.Decided() != breaker.StateOpen)
}

// endShadow tells of a call's end whoever wants to know, and counts it. The caller gets err
// itself.
func (c *core) endShadow(m *method, t *tries, asked *asked, err error) {
	if how := Explain(t.over(err, asked.trace)); how != nil {
		c.keep(how)
	}
	code := codes.OK
	if err != nil {
		code = codeOf(err)
	}
	m.count.made(int(t.placed))
	m.count.end(err, code)
	asked.end(err, t.began)
}
