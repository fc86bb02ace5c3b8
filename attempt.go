package surecall

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/limit"
)

// unaryAttempt is one attempt of a unary call.
type unaryAttempt struct {
	attempt  balancer.Attempt
	call     *unaryCall
	hedge    *hedge        // to be sent beside it; nil: none
	note     *AttemptTrace // nil: nobody asked
	cancel   context.CancelFunc
	timeout  time.Duration
	rings    int64         // when its alarm should ring, on the fleet's clock
	number   int           // of the call's attempts, from 1
	learned  bool          // the timeout was
	cutShort bool          // it ended because it was cut, and not with an answer that was faster
	hung     bool          // it was cut because its instance hangs, not for its own time
	paid     bool          // it was cut, and the budget has paid for its successor
	unpaid   bool          // it was not cut, because the budget could not pay for its successor
	outrun   bool          // it was cut because another attempt answered
	teaches  time.Duration // the most that its answer may teach: see methodStats.teaches
	overdue  atomic.Int32  // see the constants below
}

// How far an attempt that can be cut has come. It leaves inTime once: the timer and the
// answer race for it.
const (
	inTime  = iota // and not over
	late           // its timeout ran out, and it goes on for as long as no other may follow
	cut            // its timeout ran out, and the next attempt is paid for
	settled        // over in time
	lost           // another attempt has answered
)

// begin makes a the call's next attempt.
func (u *unaryCall) begin(a *unaryAttempt, now time.Time) {
	a.call, a.number = u, int(u.attempts)+1
	at := &a.attempt
	at.Fleet, at.Context, at.Route = u.core.fleet, u.ctx, u.route
	at.WaitForReady = u.waits
	if u.state.settings.instance != nil {
		at.Priority = limit.FromContext(u.ctx)
	}
	at.Retryable = u.method.idempotent && a.number-int(u.hangs) < u.method.retry.MaxAttempts
	a.teaches = u.method.stats.teaches()
	at.Patience = u.method.stats.patience()
	if u.executed || a.isHedge() {
		at.Context = metadata.AppendToOutgoingContext(u.ctx, wire.Attempt, strconv.Itoa(a.number))
	}
	if u.how != nil {
		a.note = &AttemptTrace{Number: a.number, Hedge: a.isHedge(), Began: now.Sub(u.began)}
	}
}

// try makes the attempt.
func (a *unaryAttempt) try(r *rpc, now time.Time) error {
	u, at := a.call, &a.attempt
	at.Begun = u.core.fleet.At(now)
	u.observed(at, a.note)
	if u.method.idempotent && u.method.retry.MaxAttempts > 1 {
		a.timeout, a.learned = u.timeout(at.Retryable, now)
	}
	starts := a.hedge != nil && !a.isHedge()
	if a.timeout <= 0 && !starts && a.cancel == nil {
		return r.invoker(at, u.method.name, r.req, r.reply, r.conn, r.opts...)
	}
	if a.cancel == nil {
		at.Context, a.cancel = context.WithCancel(at.Context)
	}
	var alarm, starter *alarm
	if starts {
		starter = u.core.alarms.set(&a.hedge.second, a.hedge.delay)
	}
	if a.timeout > 0 {
		first := min(a.timeout, at.Patience)
		a.rings = at.Begun + int64(first)
		alarm = u.core.alarms.set(a, first)
	}
	return a.ended(a.invoke(r, alarm, starter))
}

// invoke has gRPC make the attempt, and ends its alarms, even if what the caller gave us panics.
func (a *unaryAttempt) invoke(r *rpc, alarm, starter *alarm) error {
	u := a.call
	defer func() {
		u.core.alarms.off(alarm)
		u.core.alarms.off(starter)
		a.overdue.CompareAndSwap(inTime, settled)
		a.cancel()
	}()
	return r.invoker(&a.attempt, u.method.name, r.req, r.reply, r.conn, r.opts...)
}

// ended says whose end it was if the attempt was cancelled, and not by the caller.
func (a *unaryAttempt) ended(err error) error {
	u, how := a.call, a.overdue.Load()
	if status.Code(err) != codes.Canceled {
		return err
	}
	switch {
	case how == lost:
		a.outrun = true
		return err
	case how != cut:
		return err
	}
	a.cutShort = true
	if ended := u.ctx.Err(); ended != nil {
		return status.FromContextError(ended).Err()
	}
	if a.hung {
		return status.Errorf(codes.DeadlineExceeded, "surecall: %q hangs: nothing came back, nor to a probe", a.attempt.Instance().ID())
	}
	return status.Errorf(codes.DeadlineExceeded, "surecall: attempt timeout of %v on %q", a.timeout, a.attempt.Instance().ID())
}

// timeout returns how long an attempt can take, and whether that was learned. The last
// one, and one without a timeout, can still be cut if its instance hangs.
func (u *unaryCall) timeout(another bool, now time.Time) (d time.Duration, learned bool) {
	left := forever
	if u.hasDeadline {
		left = u.deadline.Sub(now)
	}
	if !another || u.method.attempt == nil {
		return left, false
	}
	return u.method.attempt.of(u.method.stats, left)
}

// errOverdue is the cause of a retry that an overdue attempt did not get.
var errOverdue = errors.New("surecall: the attempt timeout ran out")

const forever = time.Duration(1<<63 - 1)

// tickLate is how late a timeout may be noticed. One that is later was held up by our
// own process, and what it waited for may have been waiting for us: it judges nobody.
const tickLate = 50 * time.Millisecond

// lookAgain is how soon an attempt whose instance is suspected looks at it again.
const lookAgain = 20 * time.Millisecond

// ring is called by the attempt's alarm. It returns how long from now to ring again; 0:
// not again.
func (a *unaryAttempt) ring() (again time.Duration) {
	if a.isHedge() && a.hedge.stage.Load() < begun {
		return a.hedge.send()
	}
	return a.expired()
}

// expired is called when the attempt's timeout has run out, and before that when its
// instance might be found to hang. The attempt is cut only if its successor is paid for,
// or under way already as its hedge. Its time runs from the pick: expired returns how
// long from now to call it again if that is not over, else 0.
func (a *unaryAttempt) expired() (again time.Duration) {
	u := a.call
	i, now := a.attempt.InFlight(), time.Now()
	clock := u.core.fleet.At(now)
	hung := i.Hung() && !pinned(u.route) && u.core.fleet.Elsewhere(i)
	switch a.overdue.Load() {
	case inTime:
	case late: // when its time ran out, none could follow; that may have changed
		if !hung || !a.mayFollow(now) || !a.pay(now) {
			return a.attempt.Patience
		}
		a.hung = true
		if a.overdue.CompareAndSwap(late, cut) {
			a.cancel()
		}
		return 0
	default:
		return 0
	}
	left := a.timeout
	if i != nil && time.Duration(clock-a.rings) <= tickLate {
		left -= time.Duration(clock - a.attempt.Picked())
	}
	if left > 0 && !hung {
		if left = min(left, a.attempt.Patience); i.Suspected() {
			left = min(left, lookAgain)
		}
		a.rings = clock + int64(left)
		return left
	}
	next, denied := int32(late), false
	if (hung || !a.spent()) && a.mayFollow(now) {
		if a.pay(now) {
			next = cut
		} else {
			denied = true
		}
	}
	if left > 0 && next == late { // its instance hangs, but it has time of its own yet
		left = min(left, a.attempt.Patience)
		a.rings = clock + int64(left)
		return left
	}
	a.hung, a.unpaid = hung, denied
	if !a.overdue.CompareAndSwap(inTime, next) {
		return 0 // answered meanwhile; a token is lost, which errs on the safe side
	}
	if a.learned && !hung {
		u.core.fleet.Suspect(i, a.timeout, clock)
	}
	if (a.learned || hung) && u.state.service != nil {
		u.state.service.Failure(now)
	}
	if next == cut {
		a.cancel()
	}
	if denied {
		u.method.count.deny(event.BudgetEmpty)
	}
	if h := u.state.settings.events; h != nil && denied {
		h(event.RetryDenied{
			Service: u.core.service, Method: u.method.name, Instance: i.ID(), Attempt: a.number, Why: event.BudgetEmpty, Cause: errOverdue,
		})
	}
	if next == late {
		return a.attempt.Patience
	}
	return 0
}

// pay pays for the attempt's successor, unless that is its hedge, which is paid for.
func (a *unaryAttempt) pay(now time.Time) bool {
	if a.hedge != nil && !a.isHedge() && a.hedge.running() {
		return true
	}
	a.paid = a.call.state.budget.Withdraw(now)
	return a.paid
}

// mayFollow reports whether another attempt could be made now, if it were paid for. A
// hedge has no successor while the attempt that it stands beside goes on.
func (a *unaryAttempt) mayFollow(now time.Time) bool {
	u := a.call
	return !a.accompanied() && u.timeFor(now, 0) && !chainStopped(u.ctx) && !u.down()
}

// spent reports whether its hedge was the last attempt that the call may make, and has ended.
func (a *unaryAttempt) spent() bool {
	h := a.hedge
	return h != nil && !a.isHedge() && h.stage.Load() == over && h.second.number >= a.call.method.retry.MaxAttempts
}

// counted reports whether the service breaker was told of the attempt when its timeout
// ran out, or need not be: one that was cut before the method's latency was known may
// have been well on its way.
func (a *unaryAttempt) counted() bool {
	o := a.overdue.Load()
	return o == cut || a.learned && o == late
}
