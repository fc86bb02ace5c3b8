package breaker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

// middle makes the jitter nothing.
func middle() float64 { return 0.5 }

func record(b *breaker.Instance, v breaker.Verdict, n int) {
	for range n {
		b.Record(b.Word(), v)
	}
}

// tryTrial asks for a trial now that is lost after a second.
func tryTrial(b *breaker.Instance) (breaker.Trial, bool) {
	now := time.Now()
	return b.TryTrial(now, now.Add(time.Second))
}

// mustTrial sleeps until the ejection is over and takes the trial.
func mustTrial(t *testing.T, b *breaker.Instance) breaker.Trial {
	t.Helper()
	time.Sleep(time.Until(b.Counts().EjectedUntil))
	trial, ok := tryTrial(b)
	if !ok {
		t.Fatalf("no trial at the end of the ejection: %+v", b.Counts())
	}
	return trial
}

func wantState(t *testing.T, b *breaker.Instance, want breaker.State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("state is %v, want %v: %+v", got, want, b.Counts())
	}
	if got := breaker.Closed(b.Word()); got != (want == breaker.StateClosed) {
		t.Fatalf("Closed(word) is %v in state %v", got, want)
	}
}

func TestRunEjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		record(b, breaker.Failure, 4)
		record(b, breaker.Success, 1)
		record(b, breaker.Failure, 4)
		record(b, breaker.Ignored, 9)
		wantState(t, b, breaker.StateClosed)
		record(b, breaker.Failure, 1)
		wantState(t, b, breaker.StateOpen)
	})
}

func TestRunIsNotCutByTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		for range 4 {
			record(b, breaker.Failure, 1)
			time.Sleep(time.Minute)
		}
		wantState(t, b, breaker.StateClosed)
		record(b, breaker.Failure, 1)
		wantState(t, b, breaker.StateOpen)
	})
}

func TestRatioFailureLeavesTheRunAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		record(b, breaker.RatioFailure, 10)
		wantState(t, b, breaker.StateClosed) // ten in a row, but no run
		record(b, breaker.Failure, 4)
		record(b, breaker.RatioFailure, 1)
		if run := b.Counts().Run; run != 4 {
			t.Fatalf("run is %d after 4 failures and a ratio failure, want 4", run)
		}
		record(b, breaker.Failure, 1)
		wantState(t, b, breaker.StateOpen)
	})
}

func TestRatioEjects(t *testing.T) {
	for _, c := range []struct {
		name                string
		successes, failures int
		want                breaker.State
	}{
		{"too few", 0, 19, breaker.StateClosed},
		{"enough", 0, 20, breaker.StateOpen},
		{"half", 10, 10, breaker.StateOpen},
		{"under half", 11, 10, breaker.StateClosed},
		{"many", 1000, 999, breaker.StateClosed},
		{"half of many", 1000, 1000, breaker.StateOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
				record(b, breaker.Success, c.successes)
				record(b, breaker.RatioFailure, c.failures)
				wantState(t, b, c.want)
			})
		})
	}
}

// A window that is cleared as a whole, every 10 s, would forget the first half.
func TestWindowRolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		time.Sleep(9500 * time.Millisecond)
		record(b, breaker.RatioFailure, 10)
		time.Sleep(time.Second)
		record(b, breaker.RatioFailure, 10)
		wantState(t, b, breaker.StateOpen)
	})
}

func TestWindowForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		record(b, breaker.RatioFailure, 19)
		time.Sleep(11 * time.Second)
		if c := b.Counts(); c.Requests != 0 || c.Failures != 0 {
			t.Fatalf("after 11s the window holds %d failures of %d, want none", c.Failures, c.Requests)
		}
		record(b, breaker.RatioFailure, 19)
		wantState(t, b, breaker.StateClosed)
	})
}

// gobreaker's own timeout must neither let a trial in earlier nor keep it out longer.
func TestEjectionGatesTheTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: middle})
		record(b, breaker.Failure, 5)
		for _, wait := range []time.Duration{0, 2 * time.Millisecond, 4990 * time.Millisecond} {
			time.Sleep(wait)
			if b.Due(time.Now()) {
				t.Fatal("due before the ejection of 5s is over")
			}
			if _, ok := tryTrial(b); ok {
				t.Fatal("trial before the ejection of 5s is over")
			}
		}
		time.Sleep(8 * time.Millisecond)
		if !b.Due(time.Now()) {
			t.Fatal("not due after 5s")
		}
		if _, ok := tryTrial(b); !ok {
			t.Fatal("no trial after 5s")
		}
		wantState(t, b, breaker.StateHalfOpen)
		if _, ok := tryTrial(b); ok {
			t.Fatal("a second trial beside the first")
		}
	})
}

func TestEjectionsDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: middle})
		record(b, breaker.Failure, 5)
		since := time.Now()
		for _, want := range []time.Duration{5, 10, 20, 40, 60, 60, 60} {
			c := b.Counts()
			if got := time.Until(c.EjectedUntil); got != want*time.Second {
				t.Fatalf("ejection %d lasts %v, want %ds", c.Ejections, got, want)
			}
			if !c.EjectedSince.Equal(since) {
				t.Fatalf("ejected since %v, want the first ejection, %v", c.EjectedSince, since)
			}
			mustTrial(t, b).Done(breaker.Failure)
		}
		if got := b.Counts().Ejections; got != 8 {
			t.Fatalf("%d ejections, want 8", got)
		}
	})
}

func TestEjectionStepsBack(t *testing.T) {
	for closed, want := range map[time.Duration]time.Duration{
		0:                 40 * time.Second,
		29 * time.Second:  40 * time.Second,
		31 * time.Second:  20 * time.Second,
		61 * time.Second:  10 * time.Second,
		91 * time.Second:  5 * time.Second,
		900 * time.Second: 5 * time.Second,
	} {
		t.Run(closed.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: middle})
				record(b, breaker.Failure, 5)
				mustTrial(t, b).Done(breaker.Failure)
				mustTrial(t, b).Done(breaker.RatioFailure)
				mustTrial(t, b).Done(breaker.Success)
				wantState(t, b, breaker.StateClosed)
				time.Sleep(closed)
				record(b, breaker.Failure, 5)
				if got := time.Until(b.Counts().EjectedUntil); got != want {
					t.Fatalf("after 5s, 10s, 20s and %v closed the ejection lasts %v, want %v", closed, got, want)
				}
			})
		})
	}
}

func TestEjectionIsJittered(t *testing.T) {
	for rnd, want := range map[float64]time.Duration{0: 4 * time.Second, 0.5: 5 * time.Second, 1: 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: func() float64 { return rnd }})
			record(b, breaker.Failure, 5)
			if got := time.Until(b.Counts().EjectedUntil); got != want {
				t.Errorf("random number %v: ejected for %v, want %v", rnd, got, want)
			}
		})
	}
}

func TestResultsFromBeforeAChangeAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		early := b.Word()
		record(b, breaker.Failure, 5)
		ejected := b.Word()
		time.Sleep(time.Second) // gobreaker alone would take these for its trial
		for _, word := range []uint64{early, ejected} {
			b.Record(word, breaker.Success)
			b.Record(word, breaker.Failure)
			wantState(t, b, breaker.StateOpen)
		}
		mustTrial(t, b).Done(breaker.Success)
		for range 50 {
			b.Record(early, breaker.Failure)
			b.Record(ejected, breaker.Failure)
		}
		wantState(t, b, breaker.StateClosed)
		if c := b.Counts(); c.Requests != 0 || c.Run != 0 {
			t.Fatalf("results from before the trip were counted: %+v", c)
		}
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: middle})
		record(b, breaker.RatioFailure, 19)
		record(b, breaker.Failure, 4)
		wantState(t, b, breaker.StateOpen)
		mustTrial(t, b).Done(breaker.Failure)
		trial := mustTrial(t, b)
		b.Reset()
		wantState(t, b, breaker.StateClosed)
		trial.Done(breaker.Failure)
		wantState(t, b, breaker.StateClosed)

		early := b.Word()
		record(b, breaker.RatioFailure, 15)
		record(b, breaker.Failure, 4)
		b.Reset()
		b.Record(early, breaker.Failure)
		record(b, breaker.RatioFailure, 1)
		if c := b.Counts(); c.Requests != 1 || c.Run != 0 {
			t.Fatalf("remembered across Reset: %+v", c)
		}
		record(b, breaker.Failure, 5)
		if got := time.Until(b.Counts().EjectedUntil); got != 5*time.Second {
			t.Fatalf("ejected for %v after Reset, want 5s", got)
		}
	})
}

func TestClearRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{MayEject: func() bool { return false }})
		record(b, breaker.Failure, 4)
		b.ClearRun()
		record(b, breaker.Failure, 4)
		if b.Overruled() {
			t.Fatal("a run of 4 overruled")
		}
		record(b, breaker.Failure, 1)
		if !b.Overruled() {
			t.Fatal("a run of 5 did not overrule")
		}
		b.ClearRun()
		if c := b.Counts(); c.Overruled || c.Run != 0 || c.Failures != 9 {
			t.Fatalf("after ClearRun: %+v, want 9 failures in the window and nothing else", c)
		}
	})
}

func TestRecordAllocatesNothing(t *testing.T) {
	b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{MayEject: func() bool { return false }})
	for _, v := range []breaker.Verdict{breaker.Ignored, breaker.Success, breaker.RatioFailure, breaker.Failure} {
		record(b, v, 100) // overruled by now, and told
		if n := testing.AllocsPerRun(1000, func() { b.Record(b.Word(), v) }); n != 0 {
			t.Errorf("Record(%v) allocates %v times", v, n)
		}
	}
	record(b, breaker.Success, 1000)
	if n := testing.AllocsPerRun(1000, func() { b.Due(time.Now()) }); n != 0 {
		t.Errorf("Due allocates %v times", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	for _, v := range []breaker.Verdict{breaker.Ignored, breaker.Success, breaker.RatioFailure} {
		b.Run(v.String(), func(b *testing.B) {
			b.ReportAllocs()
			i := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{MayEject: func() bool { return false }})
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i.Record(i.Word(), v)
				}
			})
		})
	}
}

func BenchmarkWord(b *testing.B) {
	i := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
	for b.Loop() {
		if !breaker.Closed(i.Word()) {
			b.Fatal("not closed")
		}
	}
}
