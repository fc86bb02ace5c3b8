package breaker

import "time"

// Trial is the one attempt that decides whether an ejected instance comes back. It is
// a value and may be copied; the first [Trial.Done] of any copy counts. The zero Trial
// does nothing.
type Trial struct {
	b    *Instance
	word uint64
}

// TryTrial gives out the trial of an ejected instance if it is due at now. Of all
// that ask, one gets it. A trial that is not done at expires is lost: the next call
// after that may get another, and Done of the lost one does nothing from then on. In a
// dry run, and while the instance is ejected by hand, nobody gets one.
func (b *Instance) TryTrial(now, expires time.Time) (Trial, bool) {
	if !b.due(now) {
		return Trial{}, false
	}
	b.mu.Lock()
	if !b.due(now) || !b.halfOpen() {
		b.mu.Unlock()
		return Trial{}, false
	}
	b.dueAt.Store(b.instant(expires))
	b.word.Store(b.word.Load() + 1<<epochShift) // whoever had the trial has it no longer
	trial := Trial{b, b.word.Load()}
	b.mu.Unlock()
	b.deliver()
	return trial, true
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
	if v == Ignored {
		b.until = now
		b.dueAt.Store(b.instant(now))
		b.move(StateOpen, Automatic, "trial said nothing")
	} else {
		b.settle(now, trialFailed(v))
	}
	b.mu.Unlock()
	b.deliver()
}

// trialFailed is why a trial that ended with v was none, "" if it succeeded.
func trialFailed(v Verdict) string {
	if v == Success {
		return ""
	}
	return "trial failed"
}
