package surecall

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/retry"
)

// attemptKey is the metadata that an attempt carries whose predecessor may have been
// executed: calls that its handler makes are not retried on top of it.
const attemptKey = "surecall-attempt"

// unaryCall is one call with all its attempts. It is one allocation, the first attempt
// included; most calls need no other.
type unaryCall struct {
	core   *core
	state  *policies
	method *method
	wire   wire

	ctx          context.Context // the caller's, with the call deadline
	deadline     time.Time
	hasDeadline  bool
	deadlineOurs bool // set by us, not by the caller

	attempts int
	executed bool // an attempt before this one may have been executed
	first    unaryAttempt
}

// wire is what gRPC wants back to make an attempt.
type wire struct {
	req, reply any
	conn       *grpc.ClientConn
	invoker    grpc.UnaryInvoker
	opts       []grpc.CallOption
}

// unaryAttempt is one attempt of a unary call.
type unaryAttempt struct {
	attempt  balancer.Attempt
	call     *unaryCall
	cancel   context.CancelFunc
	timeout  time.Duration
	set      int64         // when it began to run, on the fleet's clock
	learned  bool          // the timeout was
	cutShort bool          // it ended because it was cut, and not with an answer that was faster
	teaches  time.Duration // the most that its answer may teach: see methodStats.teaches
	overdue  atomic.Int32  // see the constants below
}

// How far an attempt with a timeout has come. It leaves inTime once: the timer and the
// answer race for it.
const (
	inTime  = iota // and not over
	late           // its timeout ran out, and it goes on because no other may follow
	cut            // its timeout ran out, and the next attempt is paid for
	settled        // over in time
)

// run makes attempts until one ends the call.
func (u *unaryCall) run(a *unaryAttempt, now time.Time) error {
	for {
		err := u.try(a, now)
		now = time.Now()
		u.judge(a, err, now)
		if err == nil {
			return nil
		}
		wait, again := u.next(a, err, now)
		if !again {
			return u.final(a, err)
		}
		if err := pause(u.ctx, wait); err != nil {
			return u.final(a, err)
		}
		next := &unaryAttempt{}
		next.attempt.Prior = &a.attempt
		next.attempt.Rotate, next.attempt.WaitForReady = a.attempt.Rotate, a.attempt.WaitForReady
		a, now = next, time.Now()
	}
}

// try makes one attempt.
func (u *unaryCall) try(a *unaryAttempt, now time.Time) error {
	u.attempts++
	a.call = u
	at := &a.attempt
	at.Fleet, at.Context, at.Begun = u.core.fleet, u.ctx, u.core.fleet.At(now)
	a.teaches = u.method.stats.teaches()
	more := u.method.idempotent && u.attempts < u.method.retry.MaxAttempts
	at.Retryable = more
	if u.executed {
		at.Context = metadata.AppendToOutgoingContext(u.ctx, attemptKey, strconv.Itoa(u.attempts))
	}
	if more && u.method.attempt != nil && u.hasDeadline {
		a.timeout, a.learned = u.method.attempt.of(u.method.stats, u.deadline.Sub(now))
	} else if more && u.method.attempt != nil {
		a.timeout, a.learned = u.method.attempt.of(u.method.stats, forever)
	}
	if a.timeout <= 0 {
		return u.wire.invoker(at, u.method.name, u.wire.req, u.wire.reply, u.wire.conn, u.wire.opts...)
	}
	at.Context, a.cancel = context.WithCancel(at.Context)
	a.set = at.Begun
	alarm := u.core.alarms.set(a, a.timeout)
	err := u.wire.invoker(at, u.method.name, u.wire.req, u.wire.reply, u.wire.conn, u.wire.opts...)
	u.core.alarms.off(alarm)
	a.overdue.CompareAndSwap(inTime, settled)
	a.cancel()
	if a.overdue.Load() != cut || status.Code(err) != codes.Canceled {
		return err
	}
	// The cancellation was ours: whoever sees the error is told whose end it was.
	a.cutShort = true
	if ended := u.ctx.Err(); ended != nil {
		return status.FromContextError(ended).Err()
	}
	return status.Errorf(codes.DeadlineExceeded, "surecall: attempt timeout of %v on %q", a.timeout, at.Instance().ID())
}

// errOverdue is the cause of a retry that an overdue attempt did not get.
var errOverdue = errors.New("surecall: the attempt timeout ran out")

const forever = time.Duration(1<<63 - 1)

// tickLate is how late a timeout may be noticed. One that is later was held up by our
// own process, and what it waited for may have been waiting for us: it judges nobody.
const tickLate = 50 * time.Millisecond

// expired is called when the attempt's timeout has run out. The attempt is cut only if
// its successor is paid for. It has not begun while no instance is picked: expired
// returns true then, to be called again.
func (a *unaryAttempt) expired() (again bool) {
	u := a.call
	if a.overdue.Load() != inTime {
		return false
	}
	i, now := a.attempt.InFlight(), time.Now()
	clock := u.core.fleet.At(now)
	if i == nil || time.Duration(clock-a.set)-a.timeout > tickLate {
		a.set = clock
		return true
	}
	if a.learned {
		u.core.fleet.Suspect(i, a.timeout, clock)
	}
	next := int32(late)
	if u.timeFor(now, 0) && !chainStopped(u.ctx) && !u.down() {
		if u.state.budget.Withdraw(now) {
			next = cut
		} else if h := u.state.settings.events; h != nil {
			h(event.RetryDenied{
				Service: u.core.service, Method: u.method.name, Attempt: u.attempts, Why: event.BudgetEmpty, Cause: errOverdue,
			})
		}
	}
	if !a.overdue.CompareAndSwap(inTime, next) {
		return false // answered meanwhile; a token is lost, which errs on the safe side
	}
	if a.learned && u.state.service != nil {
		u.state.service.Failure(now)
	}
	if next == cut {
		a.cancel()
	}
	return false
}

// counted reports whether the service breaker was told of the attempt when its timeout
// ran out, or need not be: one that was cut before the method's latency was known may
// have been well on its way.
func (a *unaryAttempt) counted() bool {
	o := a.overdue.Load()
	return o == cut || a.learned && o == late
}

// judge tells breaker, balancer and what is learned how the attempt ended.
func (u *unaryCall) judge(a *unaryAttempt, err error, now time.Time) {
	at, fleet, stats := &a.attempt, u.core.fleet, u.method.stats
	i := at.Instance()
	if i == nil {
		return
	}
	clock := fleet.At(now)
	elapsed := time.Duration(clock - at.Picked())
	if err == nil {
		at.Judge(breaker.Success)
		u.answered(a, elapsed, clock, now)
		return
	}
	if at.Answered() {
		fleet.Progress(i, clock)
	}
	verdict := u.state.settings.classify(breaker.Outcome{
		Code:          status.Code(err),
		NeverExecuted: !at.Executed(),
		Canceled:      u.ctx.Err() == context.Canceled,
		TimedOut:      a.cutShort,
		Elapsed:       elapsed,
		P99:           stats.p99(),
	})
	switch verdict {
	case breaker.Success:
		at.Judge(verdict)
		u.answered(a, elapsed, clock, now)
		return
	case breaker.Failure, breaker.RatioFailure:
		if a.cutShort && !a.learned {
			verdict = breaker.RatioFailure // it may be the method that takes longer, and no run of them ejects
		}
		fleet.Charge(i, elapsed, clock)
		if !a.counted() && u.state.service != nil {
			u.state.service.Failure(now)
		}
		// A trial of the service breaker fails for what the service does, not the method.
		if !at.Rotate && stats.blame.Failure(i.Serial(), now, fleet.Connected()) && !at.IsTrial() {
			verdict = breaker.Ignored // the method fails alike on most instances
		}
	case breaker.Ignored:
		if status.Code(err) == codes.ResourceExhausted && at.Executed() {
			fleet.Charge(i, elapsed, clock)
		}
	}
	at.Judge(verdict)
}

// answered notes that the instance did its work, whatever it said.
func (u *unaryCall) answered(a *unaryAttempt, elapsed time.Duration, clock int64, now time.Time) {
	stats := u.method.stats
	if a.attempt.Rotate { // a trial of the service breaker takes as long as the outage
		u.core.fleet.Progress(a.attempt.Instance(), clock)
	} else {
		elapsed = min(elapsed, a.teaches)
		stats.latency.Add(elapsed, clock)
		u.core.fleet.Sample(a.attempt.Instance(), elapsed, clock)
	}
	stats.blame.Success(now)
	if u.state.service != nil {
		u.state.service.Success(now)
	}
}

// next decides whether another attempt follows, and how long from now.
func (u *unaryCall) next(a *unaryAttempt, err error, now time.Time) (wait time.Duration, again bool) {
	at, p := &a.attempt, &u.method.retry
	executed, paid := at.Executed(), a.cutShort
	if at.Instance() == nil || u.ctx.Err() != nil || p.MaxAttempts == 1 {
		return 0, false
	}
	if !paid && !retryable(p, status.Code(err), executed) {
		return 0, false // an answer, or nothing that another instance would do better
	}
	u.executed = u.executed || executed
	pushback, stop, pushed := retry.Pushback(at.Trailer())
	switch {
	case executed && !u.method.idempotent:
		return 0, u.deny(at, event.NotIdempotent, err)
	case executed && chainStopped(u.ctx):
		return 0, u.deny(at, event.ChainStop, err)
	case u.attempts >= p.MaxAttempts:
		return 0, u.deny(at, event.AttemptsSpent, err)
	case pushed && stop:
		return 0, u.deny(at, event.ServerPushback, err)
	case u.down() && !paid:
		return 0, u.deny(at, event.ServiceDown, err)
	}
	switch {
	case pushed:
		wait = pushback
	case u.attempts > 1:
		wait = p.Delay(u.attempts-1, rand.Float64())
	case !u.core.fleet.Another(at):
		wait = p.Delay(1, rand.Float64())
	}
	if !u.timeFor(now, wait) {
		if !paid {
			return 0, u.deny(at, event.NoTimeLeft, err)
		}
		wait = 0 // there was time for an attempt when this one was cut, only not for a pause
	}
	if !paid && !u.state.budget.Withdraw(now) {
		return 0, u.deny(at, event.BudgetEmpty, err)
	}
	if h := u.state.settings.events; h != nil {
		h(event.AttemptRetried{
			Service: u.core.service, Method: u.method.name, Instance: at.Instance().ID(),
			Attempt: u.attempts, Cause: err, Wait: wait,
		})
	}
	return wait, true
}

// retryable reports whether another attempt could do better after an error of that code.
// What was never executed failed for want of a connection, or was refused by a server
// that said so.
func retryable(p *retry.Policy, code codes.Code, executed bool) bool {
	if !executed {
		return code == codes.Unavailable || code == codes.ResourceExhausted
	}
	return slices.Contains(p.Codes, code)
}

// deny tells why no attempt follows. It returns false.
func (u *unaryCall) deny(at *balancer.Attempt, why event.Denial, err error) bool {
	if h := u.state.settings.events; h != nil {
		h(event.RetryDenied{
			Service: u.core.service, Method: u.method.name, Instance: at.Instance().ID(),
			Attempt: u.attempts, Why: why, Cause: err,
		})
	}
	return false
}

// timeFor reports whether an attempt that starts after wait can end before the
// deadline: if it takes no longer than half of the method's calls do.
func (u *unaryCall) timeFor(now time.Time, wait time.Duration) bool {
	return !u.hasDeadline || u.deadline.Sub(now) > wait+u.method.stats.latency.P50()
}

// down reports whether nothing of the service answers: retries would only add to it.
func (u *unaryCall) down() bool { return u.state.service != nil && u.state.service.Open() }

// chainStopped reports whether the call is made by a handler of an attempt whose
// predecessor may have been executed.
func chainStopped(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, attemptKey)) > 0
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

// final is the error that the caller gets. A server's passes through untouched.
func (u *unaryCall) final(a *unaryAttempt, err error) error {
	err = u.core.named(u.ctx, u.method.name, &a.attempt, err)
	if u.deadlineOurs && u.ctx.Err() == context.DeadlineExceeded && status.Code(err) == codes.DeadlineExceeded {
		return deadlineError(err, fmt.Sprintf("after %d attempts: the call deadline of %v, set by surecall because the caller set none", u.attempts, u.method.deadline))
	}
	return err
}

// deadlineError says whose deadline it was. It keeps the code of err.
func deadlineError(err error, what string) error {
	s := status.FromContextError(err)
	if code := status.Code(err); code != codes.Unknown {
		s = status.New(code, status.Convert(err).Message())
	}
	return status.Errorf(s.Code(), "surecall: %s %s", s.Message(), what)
}
