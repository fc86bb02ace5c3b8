package breaker_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

func TestCapOverrules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		may := false
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{MayEject: func() bool { return may }})
		word := b.Word()
		record(b, breaker.Failure, 5)
		wantState(t, b, breaker.StateClosed)
		if !b.Overruled() {
			t.Fatal("not overruled after a run of 5 under a full cap")
		}
		b.Record(word, breaker.Failure) // attempts in flight go on counting
		if run := b.Counts().Run; run != 6 {
			t.Fatalf("run is %d, want 6", run)
		}
		b.Record(word, breaker.Success)
		if b.Overruled() {
			t.Fatal("still overruled after a success")
		}

		record(b, breaker.Failure, 5)
		may = true
		wantState(t, b, breaker.StateClosed) // judged at the next failure, not before
		record(b, breaker.Failure, 1)
		wantState(t, b, breaker.StateOpen)
		if b.Overruled() {
			t.Fatal("overruled and ejected at once")
		}
	})
}

// Half of an instance's attempts fail: were overruled cleared by each success, it would
// change, and be reported, at every second attempt.
func TestOverruledDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{
			MayEject: func() bool { return false },
			Changed:  func(breaker.Change) { changes++ },
		})
		for range 1000 {
			record(b, breaker.Success, 1)
			record(b, breaker.Failure, 1)
			record(b, breaker.RatioFailure, 1)
		}
		if !b.Overruled() || changes != 1 {
			t.Fatalf("overruled %v after %d changes, want true after 1", b.Overruled(), changes)
		}
		time.Sleep(11 * time.Second)
		record(b, breaker.Success, 1)
		if b.Overruled() || changes != 2 {
			t.Fatalf("overruled %v after %d changes, want false after 2", b.Overruled(), changes)
		}
	})
}

// A callback under a lock would block for ever on the first question it asks back.
func TestChangedIsCalledWithNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *breaker.Instance
		var seen []breaker.State
		b = breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: middle, Changed: func(c breaker.Change) {
			b.Counts()
			b.ClearRun()
			b.Expedite()
			b.Record(b.Word(), breaker.Success)
			if c.From != b.State() && c.To != b.State() {
				t.Errorf("told %v → %v in state %v", c.From, c.To, b.State())
			}
			if (c.To == breaker.StateOpen) == c.Until.IsZero() || c.Why == "" {
				t.Errorf("incomplete change: %+v", c)
			}
			seen = append(seen, c.To)
		}})
		record(b, breaker.Failure, 5)
		time.Sleep(time.Second)
		trial, _ := tryTrial(b)
		trial.Done(breaker.Failure)
		time.Sleep(time.Second)
		trial, _ = tryTrial(b)
		trial.Done(breaker.Success)
		want := []breaker.State{
			breaker.StateOpen, breaker.StateHalfOpen, breaker.StateOpen, breaker.StateHalfOpen, breaker.StateClosed,
		}
		if !slices.Equal(seen, want) {
			t.Fatalf("told %v, want %v", seen, want)
		}
	})
}

// A callback that takes its time holds back later changes, not those who make them.
func TestChangesAreToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []breaker.State // not synchronised: told one at a time
		release := make(chan struct{})
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Changed: func(c breaker.Change) {
			if len(told) == 0 {
				<-release
			}
			told = append(told, c.To)
		}})
		go record(b, breaker.Failure, 5)
		synctest.Wait()
		mustTrial(t, b).Done(breaker.Success)
		wantState(t, b, breaker.StateClosed)
		if len(told) != 0 {
			t.Fatalf("told %v before the first callback returned", told)
		}
		close(release)
		synctest.Wait()
		want := []breaker.State{breaker.StateOpen, breaker.StateHalfOpen, breaker.StateClosed}
		if !slices.Equal(told, want) {
			t.Fatalf("told %v, want %v", told, want)
		}
	})
}

func TestInstanceHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last, told := breaker.StateClosed, 0 // not synchronised: told one at a time
		b := breaker.NewInstance(breaker.Policy{Ejection: 10 * time.Millisecond, MaxEjection: 10 * time.Millisecond},
			breaker.Hooks{Changed: func(c breaker.Change) {
				if c.From != last {
					t.Errorf("change %d is from %v, but the one before was to %v", told, c.From, last)
				}
				last = c.To
				told++
			}})
		var callers sync.WaitGroup
		for n := range 4 {
			callers.Go(func() {
				for i := range 500 {
					if trial, ok := tryTrial(b); ok {
						trial.Done(breaker.Verdict((i + n) % 4))
					}
					record(b, breaker.Failure, 2)
					time.Sleep(time.Millisecond)
				}
			})
		}
		callers.Wait()
		if last != b.State() || told < 100 {
			t.Fatalf("%d changes told, the last to %v; the state is %v", told, last, b.State())
		}
	})
}
