package surecall

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/breaker"
)

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
	if !at.Answered() && isLocal(status.Code(err)) {
		at.Judge(breaker.Ignored)
		return
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
		if a.cutShort && a.hung {
			verdict = breaker.Ignored // it is ejected for that already, until it answers
			break
		}
		if a.cutShort && !a.learned {
			if elapsed < stats.p99() {
				verdict = breaker.Ignored // cut because time was short, while it was well on its way
				break
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
		if status.Code(err) == codes.ResourceExhausted && at.Executed() {
			fleet.Charge(i, elapsed, clock)
		}
	}
	at.Judge(verdict)
}

// isLocal reports whether an error of that code, with nothing received, is gRPC's own
// about the message: one that cannot be encoded, or is too large to send.
func isLocal(code codes.Code) bool { return code == codes.Internal || code == codes.ResourceExhausted }

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
