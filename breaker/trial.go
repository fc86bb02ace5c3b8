package breaker

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Trial is the one attempt that decides whether an ejected instance comes back. It is
// a value and may be copied; the first [Trial.Done] of any copy counts. The zero Trial
// does nothing.
type Trial struct {
	b    *Instance
	word uint64
}

// TryTrial gives out the trial of an ejected instance if it is due at now. Of all
// that ask, one gets it. A trial that is not done at expires is lost: the next call
// after that may get another, and Done of the lost one does nothing from then on.
//
// gobreaker is asked here whether it is half-open, and told the verdict in one step at
// Done, so that it never waits for a trial: one that is lost cannot wedge it.
func (b *Instance) TryTrial(now, expires time.Time) (Trial, bool) {
	if !b.Due(now) {
		return Trial{}, false
	}
	b.mu.Lock()
	if !b.Due(now) || b.inner.State() != gobreaker.StateHalfOpen {
		b.mu.Unlock()
		return Trial{}, false
	}
	b.dueAt.Store(b.instant(expires))
	word := b.move(StateHalfOpen, "trial")
	b.mu.Unlock()
	b.deliver()
	return Trial{b, word}, true
}

// Done ends the trial. Success closes the breaker; Failure and RatioFailure eject the
// instance again, for twice as long; Ignored gives the trial back, due at once.
func (t Trial) Done(v Verdict) {
	b := t.b
	if b == nil {
		return
	}
	b.mu.Lock()
	if b.word.Load() != t.word {
		b.mu.Unlock()
		return
	}
	now := time.Now()
	switch v {
	case Success:
		_, _ = b.inner.Execute(succeed)
		b.close(now, "trial succeeded")
	case Failure, RatioFailure:
		_, _ = b.inner.Execute(fail)
		b.eject(now, "trial failed")
	default:
		b.until = now
		b.dueAt.Store(b.instant(now))
		b.move(StateOpen, "trial said nothing")
	}
	b.mu.Unlock()
	b.deliver()
}
