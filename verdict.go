package surecall

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// judge tells breaker, balancer, limits and what is learned how the attempt ended, and
// gives its slots back.
func (u *unaryCall) judge(a *unaryAttempt, err error, now time.Time) {
	if a.note == nil && err != nil {
		a.note = u.noted(&a.attempt, a.number)
		a.note.Hedge = a.isHedge()
	}
	if a.attempt.Instance() == nil {
		u.release(len(u.method.concurrency))
		return
	}
	clock := u.core.fleet.At(now)
	elapsed := time.Duration(clock - a.attempt.Picked())
	verdict := u.verdict(a, err, elapsed, clock, now)
	a.attempt.Judge(verdict)
	u.sample(&a.attempt, u.load(a, verdict, err, elapsed), elapsed, now)
	if a.note != nil {
		a.note.Took, a.note.Verdict, a.note.CutOff = elapsed, verdict, a.cutShort || a.outrun
	}
}

// load is what the attempt's end says of the load, to adaptive limits: answers, and what
// was refused for overload or not answered within the time that the method takes. A lost
// connection says nothing, nor does gRPC's own RESOURCE_EXHAUSTED.
func (u *unaryCall) load(a *unaryAttempt, v breaker.Verdict, err error, elapsed time.Duration) limit.Outcome {
	if err == nil || v == breaker.Success {
		return limit.Success
	}
	p99 := u.method.stats.p99()
	switch status.Code(err) {
	case codes.ResourceExhausted:
		if !isLocal(&a.attempt, err) && !a.attempt.Repeated() {
			return limit.Overload
		}
	case codes.DeadlineExceeded:
		if a.cutShort && a.learned || !a.cutShort && p99 > 0 && elapsed >= p99 {
			return limit.Overload
		}
	}
	return limit.Ignored
}

// verdict is what the attempt's end means for its instance. What it means for others is
// told on the way.
func (u *unaryCall) verdict(a *unaryAttempt, err error, elapsed time.Duration, clock int64, now time.Time) breaker.Verdict {
	at, fleet, stats := &a.attempt, u.core.fleet, u.method.stats
	i := at.Instance()
	if err == nil {
		u.answered(a, elapsed, clock, now)
		return u.state.settings.slow(breaker.Success, elapsed)
	}
	if isLocal(at, err) {
		return breaker.Ignored
	}
	pushed := false
	if at.Answered() {
		fleet.Progress(i, clock)
		if at.Repeated() {
			return breaker.Ignored // another instance failed, and was judged for it
		}
		pushed = u.core.yields(at, err, clock)
	}
	verdict := u.state.settings.classify(breaker.Outcome{
		Code:          status.Code(err),
		NeverExecuted: !at.Executed(),
		Canceled:      a.outrun || u.ctx.Err() == context.Canceled,
		TimedOut:      a.cutShort,
		Pushback:      pushed,
		Elapsed:       elapsed,
		P99:           stats.p99(),
	})
	switch verdict {
	case breaker.Success:
		u.answered(a, elapsed, clock, now)
		return u.state.settings.slow(verdict, elapsed)
	case breaker.Failure, breaker.RatioFailure:
		if a.cutShort && a.hung {
			return breaker.Ignored // it is ejected for that already, until it answers
		}
		if a.cutShort && !a.learned {
			if elapsed < stats.p99() {
				return breaker.Ignored // cut because time was short, while it was well on its way
			}
			verdict = breaker.RatioFailure // it may be the method that takes longer, and no run of them ejects
		}
		fleet.Charge(i, elapsed, clock)
		// A service that answers INTERNAL is there: it is the method that is broken.
		if !a.counted() && u.state.service != nil && !(verdict == breaker.RatioFailure && at.Answered()) {
			u.state.service.Failure(now)
		}
		// A trial of the service breaker fails for what the service does, not the method.
		if !at.Rotate && stats.blame.Failure(i.Serial(), now, fleet.Connected()) && !at.IsTrial() {
			verdict = breaker.Ignored // the method fails alike on most instances
		}
	case breaker.Ignored:
		// It says nothing of the instance that the caller's deadline was too short for the
		// method; that nobody met any does say something of the service.
		if u.ctx.Err() == context.DeadlineExceeded && !at.Answered() && !a.counted() && u.state.service != nil {
			u.state.service.Failure(now)
		}
		if pushed || status.Code(err) == codes.ResourceExhausted && at.Executed() {
			fleet.Charge(i, elapsed, clock)
		}
	}
	return verdict
}

// yields has an instance get fewer calls that said it has too much to do, or that it is
// not to be had for a while. When to repeat some other failure is about the request. It
// reports whether the server said when to come again.
func (c *core) yields(at *balancer.Attempt, err error, clock int64) (pushed bool) {
	code := status.Code(err)
	if code != codes.ResourceExhausted && code != codes.Unavailable {
		return false
	}
	pushback, stop, pushed := retry.Pushback(at.Trailer(), err)
	pushed = pushed && !stop
	if pushed || code == codes.ResourceExhausted {
		c.fleet.Yield(at.Instance(), pushback, clock)
	}
	return pushed
}

// slow turns the verdict on an attempt that took too long for the breaker's policy.
func (s *settings) slow(v breaker.Verdict, elapsed time.Duration) breaker.Verdict {
	if s.breaker == nil {
		return v
	}
	return s.breaker.Judge(v, elapsed)
}

// isLocal reports whether err is gRPC's own about the message: one that cannot be encoded,
// is too large to send, or was too large to receive. A server's RESOURCE_EXHAUSTED comes in
// a trailer, with a content type at least; with one of gRPC's own there is none, or that of
// an answer, which is empty.
func isLocal(at *balancer.Attempt, err error) bool {
	switch status.Code(err) {
	case codes.Internal:
		return !at.Answered()
	case codes.ResourceExhausted:
		return !at.Answered() || len(at.Trailer()) == 0
	default:
		return false
	}
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
