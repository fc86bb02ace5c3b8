package surecall

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
)

// gate is what a call passes on its way in, outside of its attempts: it judges what the
// caller asked, not what retries add.
type gate struct {
	entry  breaker.Entry
	passed time.Duration // since the call began
}

// enter asks the rate limits, the throttle, the service breaker and the method breaker,
// in this order: a breaker is asked last, since the time that a call waits for a rate can
// open it. It returns the time at which all let the call pass.
func (t *tries) enter(now time.Time) (time.Time, error) {
	now, err := t.pass(now)
	if err == nil {
		t.gate.passed = now.Sub(t.began)
	}
	t.method.count.wait(now.Sub(t.began))
	return now, err
}

// noticed is the shortest time that counts as a wait: what asking takes is none.
const noticed = 100 * time.Microsecond

func (t *tries) pass(now time.Time) (_ time.Time, err error) {
	m := t.method
	for n, r := range m.rates {
		err = r.Take(t.ctx, t.ask(), now)
		now = time.Now()
		if err != nil {
			for _, taken := range m.rates[:n] {
				taken.Return(now)
			}
			return now, t.refused(ErrRateLimited, err)
		}
	}
	if m.throttle != nil && !m.throttle.Allow(limit.FromContext(t.ctx), now, rand.Float64()) {
		return now, t.refused(ErrThrottled, limit.ErrThrottled)
	}
	now, err = t.admit(now)
	if err != nil {
		return now, err
	}
	if m.breaker != nil && !t.trial { // the trial of a service that was down finds out for its methods too
		var ok bool
		if t.gate.entry, ok = m.breaker.Enter(now); !ok {
			r := newRejection(ErrMethodDown, t.core.service, m.name, t.core.fleet.Refusal())
			r.RetryAfter = m.breaker.RetryAfter(now)
			return now, r
		}
	}
	if m.retry.MaxAttempts > 1 {
		t.state.budget.Deposit(now)
	}
	return now, nil
}

// leave tells the throttle and the method breaker how the call ended. A deadline that was
// shorter than the method takes, as far as that is known, says nothing of the method.
func (t *tries) leave(err error) {
	m := t.method
	if m.throttle == nil && m.breaker == nil {
		return
	}
	now, p99 := time.Now(), m.stats.p99()
	elapsed := now.Sub(t.began) - t.gate.passed
	verdict, rejected := breaker.Success, isRejection(err)
	switch {
	case err == nil:
	case rejected: // by a limit of ours, say: the service has refused nothing
		verdict = breaker.Ignored
	default:
		verdict = t.state.settings.classify(breaker.Outcome{
			Code: status.Code(err), Canceled: t.ctx.Err() == context.Canceled,
			TimedOut: t.ctx.Err() == context.DeadlineExceeded && elapsed >= p99, Elapsed: elapsed, P99: p99,
		})
	}
	if m.breaker != nil {
		m.breaker.Record(t.gate.entry, verdict, elapsed, now)
	}
	if m.throttle != nil && !rejected && (err == nil || !t.local) && (verdict != breaker.Ignored || status.Code(err) == codes.ResourceExhausted) {
		m.throttle.Done(verdict == breaker.Success || verdict == breaker.RatioFailure, now)
	}
}

// admit asks the service breaker. While it is open, a call that waits for ready waits
// for a trial's turn or for the breaker to close; any other is rejected. It returns the
// time at which it lets the call pass.
func (t *tries) admit(now time.Time) (time.Time, error) {
	service := t.state.service
	if service == nil {
		return now, nil
	}
	ok, trial := service.Allow(now)
	if !ok && !t.waits {
		r := newRejection(ErrServiceDown, t.core.service, t.method.name, t.core.fleet.Refusal())
		r.RetryAfter = t.state.trialInterval
		return now, r
	}
	for !ok {
		changed := service.Changed() // before asking again, so that no closing is missed
		now = time.Now()
		if ok, trial = service.Allow(now); ok {
			break
		}
		turn := time.NewTimer(t.state.trialInterval)
		select {
		case <-changed:
		case <-turn.C:
		case <-t.ctx.Done():
			turn.Stop()
			return time.Now(), deadlineError(t.ctx.Err(), "while the service breaker was open")
		}
		turn.Stop()
	}
	t.trial = trial
	return now, nil
}
