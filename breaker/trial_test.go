package breaker_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

func ejected(b *breaker.Instance) *breaker.Instance {
	record(b, breaker.Failure, 5)
	return b
}

func TestLostTrialCannotWedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{}))
		lost := mustTrial(t, b) // expires after a second
		for range 10 {
			time.Sleep(999 * time.Millisecond)
			if _, ok := tryTrial(b); ok {
				t.Fatal("another trial before the running one expired")
			}
			time.Sleep(time.Millisecond)
			next, ok := tryTrial(b)
			if !ok {
				t.Fatal("no trial after the running one was lost")
			}
			lost.Done(breaker.Success)
			lost.Done(breaker.Failure)
			wantState(t, b, breaker.StateHalfOpen)
			lost = next
		}
		lost.Done(breaker.Success)
		wantState(t, b, breaker.StateClosed)
	})
}

func TestTrialThatIsOnlyLateStillCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{}))
		trial := mustTrial(t, b)
		time.Sleep(time.Hour)
		trial.Done(breaker.Success)
		wantState(t, b, breaker.StateClosed)
	})
}

func TestTrialIsDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{}))
		trial := mustTrial(t, b)
		duplicate := trial
		trial.Done(breaker.Success)
		wantState(t, b, breaker.StateClosed)
		trial.Done(breaker.Failure)
		duplicate.Done(breaker.Failure)
		wantState(t, b, breaker.StateClosed)
		breaker.Trial{}.Done(breaker.Failure)
	})
}

func TestIgnoredTrialIsDueAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{}))
		trial := mustTrial(t, b)
		for range 20 {
			trial.Done(breaker.Ignored)
			wantState(t, b, breaker.StateOpen)
			again, ok := tryTrial(b)
			if !ok {
				t.Fatal("a trial that said nothing is not due again at once")
			}
			trial = again
		}
		trial.Done(breaker.Success)
		wantState(t, b, breaker.StateClosed)
	})
}

func TestExpedite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		b.Expedite()
		wantState(t, b, breaker.StateClosed)
		ejected(b)
		b.Expedite()
		if !b.Due(time.Now()) {
			t.Fatal("not due after Expedite")
		}
		time.Sleep(2 * time.Millisecond) // no ejection is shorter than gobreaker's
		trial, ok := tryTrial(b)
		if !ok {
			t.Fatal("no trial after Expedite")
		}
		b.Expedite()
		if _, ok := tryTrial(b); ok {
			t.Fatal("Expedite gave out a second trial")
		}
		trial.Done(breaker.Success)
		wantState(t, b, breaker.StateClosed)
	})
}

func TestOneOfManyGetsTheTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{}))
		for range 50 {
			time.Sleep(time.Until(b.Counts().EjectedUntil))
			var won atomic.Int32
			var trial breaker.Trial
			var callers sync.WaitGroup
			for range 16 {
				callers.Go(func() {
					if got, ok := tryTrial(b); ok {
						won.Add(1)
						trial = got
					}
				})
			}
			callers.Wait()
			if n := won.Load(); n != 1 {
				t.Fatalf("%d callers got the trial, want 1", n)
			}
			trial.Done(breaker.Failure)
		}
	})
}
