package surecall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/retry"
)

// tries is what the attempts of one call, unary or streaming, share.
type tries struct {
	core   *core
	state  *policies
	method *method

	ctx      context.Context // the caller's, with the call deadline
	began    time.Time
	deadline time.Time
	route    *balancer.Route // where the caller wants it to go; nil: anywhere
	telling  sync.Mutex      // over how, for streams: gRPC tells of their end beside the caller
	how      *Explanation    // nil: nothing is to be told yet
	gate     gate

	// Together, so that a call is not larger than 512 bytes: above, its allocation and the
	// garbage collector's look at it cost some 40 ns more (TestCallIsSmall).
	attempts     uint32 // begun
	placed       uint16 // of those that are over, how many went to an instance
	hangs        uint16 // of attempts, those that were cut because their instance hung: they do not count
	hasDeadline  bool
	deadlineOurs bool // set by us, not by the caller
	waits        bool // for ready
	trial        bool // of the service breaker
	executed     bool // an attempt before this one may have been executed
	local        bool // gRPC's own error ended the call: see isLocal
}

// maxPushback is the longest pushback that is waited for: a stream, which has no deadline,
// would else stand still for as long as a server likes.
const maxPushback = time.Minute

// next decides whether another attempt follows at, which ended with err, and how long
// from now. cut tells that at was cut off so that another could follow, and paid that the
// budget has paid for that one.
func (t *tries) next(at *balancer.Attempt, err error, cut, paid bool, now time.Time) (wait time.Duration, again bool) {
	p, executed := &t.method.retry, at.Executed()
	if at.Instance() == nil || t.ctx.Err() != nil || p.MaxAttempts == 1 {
		return 0, false
	}
	if !cut && !retryable(p, at, status.Code(err)) && err != errUnwanted {
		return 0, false // an answer, or nothing that another instance would do better
	}
	t.executed = t.executed || executed
	pushback, stop, pushed := retry.Pushback(at.Trailer(), err)
	switch {
	case executed && !t.method.idempotent:
		return 0, t.deny(at, event.NotIdempotent, err)
	case executed && chainStopped(t.ctx):
		return 0, t.deny(at, event.ChainStop, err)
	case int(t.attempts)-int(t.hangs) >= p.MaxAttempts:
		return 0, t.deny(at, event.AttemptsSpent, err)
	case pushed && (stop || pushback > maxPushback):
		return 0, t.deny(at, event.ServerPushback, err)
	case t.down() && !paid:
		return 0, t.deny(at, event.ServiceDown, err)
	}
	switch {
	case pushed:
		wait = pushback
	case t.attempts > 1:
		wait = p.Delay(int(t.attempts)-1, rand.Float64())
	case !t.core.fleet.Another(at):
		wait = p.Delay(1, rand.Float64())
	}
	if !t.timeFor(now, wait) {
		if !paid {
			return 0, t.deny(at, event.NoTimeLeft, err)
		}
		wait = 0 // there was time for an attempt when this one was cut, only not for a pause
	}
	if !paid && !t.state.budget.Withdraw(now) {
		return 0, t.deny(at, event.BudgetEmpty, err)
	}
	if h := t.state.settings.events; h != nil {
		h(event.AttemptRetried{
			Service: t.core.service, Method: t.method.name, Instance: at.Instance().ID(),
			Attempt: int(t.attempts), Cause: err, Wait: wait,
		})
	}
	return wait, true
}

// retryable reports whether another attempt could do better after an error of that code.
// What was never executed failed for want of a connection, or was refused by a server
// that said so. What the service has kept of the call any other would answer too.
func retryable(p *retry.Policy, at *balancer.Attempt, code codes.Code) bool {
	if at.Repeated() {
		return false
	}
	if !at.Executed() {
		return code == codes.Unavailable || code == codes.ResourceExhausted
	}
	return slices.Contains(p.Codes, code)
}

// deny tells why no attempt follows. It returns false.
func (t *tries) deny(at *balancer.Attempt, why event.Denial, err error) bool {
	t.method.count.deny(why)
	t.telling.Lock()
	t.story().Call.Denied = why
	t.telling.Unlock()
	if h := t.state.settings.events; h != nil {
		h(event.RetryDenied{
			Service: t.core.service, Method: t.method.name, Instance: at.Instance().ID(),
			Attempt: int(t.attempts), Why: why, Cause: err,
		})
	}
	return false
}

// timeFor reports whether an attempt that starts after wait can end before the
// deadline: if it takes no longer than half of the method's calls do.
func (t *tries) timeFor(now time.Time, wait time.Duration) bool {
	return !t.hasDeadline || t.deadline.Sub(now)-t.method.stats.latency.P50() > wait
}

// down reports whether nothing of the service answers: retries would only add to it.
func (t *tries) down() bool { return t.state.service != nil && t.state.service.Open() }

// named says whose deadline it was that ended the call, if it was ours. The server knows
// the deadline too, and its word of it may come before the context's own.
func (t *tries) named(err error, deadline time.Duration) error {
	if !t.deadlineOurs || status.Code(err) != codes.DeadlineExceeded || time.Now().Before(t.deadline) {
		return err
	}
	when := "before the first attempt"
	if t.attempts > 0 {
		when = fmt.Sprintf("at attempt %d", t.attempts)
	}
	return deadlineError(err, fmt.Sprintf("%s: the call deadline of %v, set by surecall because the caller set none", when, deadline))
}

// chainStopped reports whether the call is made by a handler of an attempt whose
// predecessor may have been executed.
func chainStopped(ctx context.Context) bool {
	_, stopped := wire.ParseAttempt(metadata.ValueFromIncomingContext(ctx, wire.Attempt))
	return stopped
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
