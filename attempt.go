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
)

// unaryAttempt is one attempt of a unary call.
type unaryAttempt struct {
	attempt  balancer.Attempt
	call     *unaryCall
	cancel   context.CancelFunc
	timeout  time.Duration
	rings    int64         // when its alarm should ring, on the fleet's clock
	number   int           // of the call's attempts, from 1
	learned  bool          // the timeout was
	cutShort bool          // it ended because it was cut, and not with an answer that was faster
	hung     bool          // it was cut because its instance hangs, not for its own time
	teaches  time.Duration // the most that its answer may teach: see methodStats.teaches
	overdue  atomic.Int32  // see the constants below
}

// How far an attempt with a timeout has come. It leaves inTime once: the timer and the
// answer race for it.
const (
	inTime  = iota // and not over
	late           // its timeout ran out, and it goes on for as long as no other may follow
	cut            // its timeout ran out, and the next attempt is paid for
	settled        // over in time
)

// try makes one attempt.
func (u *unaryCall) try(a *unaryAttempt, now time.Time) error {
	u.attempts++
	a.call, a.number = u, u.attempts
	at := &a.attempt
	at.Fleet, at.Context, at.Begun = u.core.fleet, u.ctx, u.core.fleet.At(now)
	a.teaches = u.method.stats.teaches()
	at.Retryable = u.method.idempotent && u.attempts-u.hangs < u.method.retry.MaxAttempts
	at.Patience = u.method.stats.patience()
	if u.executed {
		at.Context = metadata.AppendToOutgoingContext(u.ctx, wire.Attempt, strconv.Itoa(u.attempts))
	}
	if u.method.idempotent && u.method.retry.MaxAttempts > 1 {
		a.timeout, a.learned = u.timeout(at.Retryable, now)
	}
	if a.timeout <= 0 {
		return u.rpc.invoker(at, u.method.name, u.rpc.req, u.rpc.reply, u.rpc.conn, u.rpc.opts...)
	}
	at.Context, a.cancel = context.WithCancel(at.Context)
	first := min(a.timeout, at.Patience)
	a.rings = at.Begun + int64(first)
	alarm := u.core.alarms.set(a, first)
	err := u.rpc.invoker(at, u.method.name, u.rpc.req, u.rpc.reply, u.rpc.conn, u.rpc.opts...)
	u.core.alarms.off(alarm)
	a.overdue.CompareAndSwap(inTime, settled)
	a.cancel()
	if a.overdue.Load() != cut || status.Code(err) != codes.Canceled {
		return err
	}
	// The cancellation was ours: whoever sees the error is told whose end it was.
	a.cutShort = true
	if a.hung {
		u.hangs++
	}
	if ended := u.ctx.Err(); ended != nil {
		return status.FromContextError(ended).Err()
	}
	if a.hung {
		return status.Errorf(codes.DeadlineExceeded, "surecall: %q hangs: nothing came back, nor to a probe", at.Instance().ID())
	}
	return status.Errorf(codes.DeadlineExceeded, "surecall: attempt timeout of %v on %q", a.timeout, at.Instance().ID())
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

// expired is called when the attempt's timeout has run out, and before that when its
// instance might be found to hang. The attempt is cut only if its successor is paid for.
// Its time runs from the pick: expired returns how long from now to call it again if
// that is not over, else 0.
func (a *unaryAttempt) expired() (again time.Duration) {
	u := a.call
	i, now := a.attempt.InFlight(), time.Now()
	clock := u.core.fleet.At(now)
	hung := i.Hung() && u.core.fleet.Elsewhere(i)
	switch a.overdue.Load() {
	case inTime:
	case late: // when its time ran out, none could follow; that may have changed
		if !hung || !a.mayFollow(now) || !u.state.budget.Withdraw(now) {
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
	if a.mayFollow(now) {
		if u.state.budget.Withdraw(now) {
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
	a.hung = hung
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

// mayFollow reports whether another attempt could be made now, if it were paid for.
func (a *unaryAttempt) mayFollow(now time.Time) bool {
	u := a.call
	return u.timeFor(now, 0) && !chainStopped(u.ctx) && !u.down()
}

// counted reports whether the service breaker was told of the attempt when its timeout
// ran out, or need not be: one that was cut before the method's latency was known may
// have been well on its way.
func (a *unaryAttempt) counted() bool {
	o := a.overdue.Load()
	return o == cut || a.learned && o == late
}
