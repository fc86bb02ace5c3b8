package breaker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

// call makes n calls, one after the other, as far as they pass.
func call(m *breaker.Method, v breaker.Verdict, elapsed time.Duration, n int) (passed int) {
	for range n {
		if e, ok := m.Enter(time.Now()); ok {
			m.Record(e, v, elapsed, time.Now())
			passed++
		}
	}
	return passed
}

func wantMethod(t *testing.T, m *breaker.Method, want breaker.State) {
	t.Helper()
	if got := m.State(); got != want {
		t.Fatalf("state is %v, want %v: %+v", got, want, m.Counts())
	}
}

func TestMethodOpens(t *testing.T) {
	slow := breaker.MethodPolicy{SlowCall: time.Second}
	for _, c := range []struct {
		name   string
		policy breaker.MethodPolicy
		feed   func(m *breaker.Method)
		want   breaker.State
	}{
		{"too few", breaker.MethodPolicy{}, func(m *breaker.Method) { call(m, breaker.Failure, 0, 19) }, breaker.StateClosed},
		{"enough", breaker.MethodPolicy{}, func(m *breaker.Method) { call(m, breaker.Failure, 0, 20) }, breaker.StateOpen},
		{"of the other kind", breaker.MethodPolicy{}, func(m *breaker.Method) { call(m, breaker.RatioFailure, 0, 20) }, breaker.StateOpen},
		{"half", breaker.MethodPolicy{}, func(m *breaker.Method) {
			call(m, breaker.Success, 0, 10)
			call(m, breaker.Failure, 0, 10)
		}, breaker.StateOpen},
		{"under half", breaker.MethodPolicy{}, func(m *breaker.Method) {
			call(m, breaker.Success, 0, 11)
			call(m, breaker.Failure, 0, 10)
		}, breaker.StateClosed},
		{"ignored ones say nothing", breaker.MethodPolicy{}, func(m *breaker.Method) {
			call(m, breaker.Failure, 0, 19)
			call(m, breaker.Ignored, time.Hour, 1000)
		}, breaker.StateClosed},
		{"the window rolls", breaker.MethodPolicy{}, func(m *breaker.Method) {
			call(m, breaker.Failure, 0, 19)
			time.Sleep(11 * time.Second)
			call(m, breaker.Failure, 0, 19)
		}, breaker.StateClosed},
		{"slow calls with no rule for them", breaker.MethodPolicy{}, func(m *breaker.Method) { call(m, breaker.Success, time.Hour, 100) }, breaker.StateClosed},
		{"slow calls", slow, func(m *breaker.Method) { call(m, breaker.Success, time.Second, 20) }, breaker.StateOpen},
		{"too few slow calls", slow, func(m *breaker.Method) { call(m, breaker.Success, time.Second, 19) }, breaker.StateClosed},
		{"calls that are nearly slow", slow, func(m *breaker.Method) { call(m, breaker.Success, 999*ms, 100) }, breaker.StateClosed},
		{"slow, and slow in failing", slow, func(m *breaker.Method) {
			call(m, breaker.Success, 0, 12)
			call(m, breaker.Failure, time.Second, 6) // 6 of 24 fail
			call(m, breaker.Success, time.Second, 6)
		}, breaker.StateOpen},
		{"under half are slow, under half fail", slow, func(m *breaker.Method) {
			call(m, breaker.Success, 0, 10)
			call(m, breaker.Failure, 0, 9)
			call(m, breaker.Success, time.Second, 9)
		}, breaker.StateClosed},
		{"ignored ones are not slow", slow, func(m *breaker.Method) { call(m, breaker.Ignored, time.Hour, 1000) }, breaker.StateClosed},
		{"the window of slow calls rolls", slow, func(m *breaker.Method) {
			call(m, breaker.Success, time.Second, 19)
			time.Sleep(11 * time.Second)
			call(m, breaker.Success, time.Second, 19)
		}, breaker.StateClosed},
		{"a ratio of slow calls", breaker.MethodPolicy{SlowCall: time.Second, SlowRatio: 0.1}, func(m *breaker.Method) {
			call(m, breaker.Success, 0, 27)
			call(m, breaker.Success, time.Second, 3)
		}, breaker.StateOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := breaker.NewMethod(c.policy, nil)
				c.feed(m)
				wantMethod(t, m, c.want)
			})
		})
	}
}

func TestMethodSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var why []string
		m := breaker.NewMethod(breaker.MethodPolicy{SlowCall: time.Second, Trials: 1}, func(c breaker.Change) { why = append(why, c.Why) })
		call(m, breaker.Success, 2*time.Second, 20)
		awaitTrial(m)
		call(m, breaker.Success, 1500*ms, 1)
		awaitTrial(m)
		call(m, breaker.Failure, 0, 1)
		awaitTrial(m)
		call(m, breaker.Success, 0, 1)
		call(m, breaker.Success, 0, 5)
		call(m, breaker.Failure, 0, 15)
		want := []string{
			"20 of 20 calls took 1s or more in 10s", "trial", "trial took 1.5s", "trial", "trial failed", "trial",
			"trial succeeded", "15 of 20 calls failed in 10s",
		}
		if got := strings.Join(why, "; "); got != strings.Join(want, "; ") {
			t.Fatalf("told %q", got)
		}
	})
}

// awaitTrial sleeps until a trial is due.
func awaitTrial(m *breaker.Method) { time.Sleep(m.RetryAfter(time.Now())) }

func TestMethodRejectsWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := breaker.NewMethod(breaker.MethodPolicy{Jitter: 1e-9}, nil)
		if got := m.RetryAfter(time.Now()); got != 0 {
			t.Fatalf("closed, and calls shall come back after %v", got)
		}
		late, _ := m.Enter(time.Now())
		call(m, breaker.Failure, 0, 20)
		if got := m.RetryAfter(time.Now()).Round(ms); got != 5*time.Second {
			t.Fatalf("calls shall come back after %v, want 5s", got)
		}
		time.Sleep(4999 * ms)
		m.Record(late, breaker.Success, 5*time.Second, time.Now())
		if n := call(m, breaker.Success, 0, 1000); n != 0 {
			t.Fatalf("%d calls passed an open breaker", n)
		}
		time.Sleep(2 * ms)
		if got := m.RetryAfter(time.Now()); got != 0 {
			t.Fatalf("a trial is due, and calls shall come back after %v", got)
		}
		if n := call(m, breaker.Success, 0, 1); n != 1 {
			t.Fatal("no trial when the opening is over")
		}
		m.SetMode(breaker.ForcedOpen)
		if got := m.RetryAfter(time.Now()); got != 0 {
			t.Fatalf("nobody knows when it ends, and calls shall come back after %v", got)
		}
	})
}

func TestMethodTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := breaker.NewMethod(breaker.MethodPolicy{Jitter: 1e-9}, nil)
		call(m, breaker.Failure, 0, 20)
		for _, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
			if got := m.RetryAfter(time.Now()).Round(ms); got != want*time.Second {
				t.Fatalf("open for %v, want %ds", got, want)
			}
			awaitTrial(m)
			if n := call(m, breaker.Success, 0, 2); n != 2 { // one after the other
				t.Fatalf("%d trials, want 2", n)
			}
			wantMethod(t, m, breaker.StateHalfOpen)
			trial, ok := m.Enter(time.Now())
			if _, second := m.Enter(time.Now()); !ok || second {
				t.Fatalf("trials beside one another: %v, %v; want one", ok, second)
			}
			m.Record(trial, breaker.RatioFailure, 0, time.Now()) // one of three is enough
			wantMethod(t, m, breaker.StateOpen)
		}
		awaitTrial(m)
		call(m, breaker.Success, 0, 3)
		wantMethod(t, m, breaker.StateClosed)
		if c := m.Counts(); c.Requests != 0 || !c.OpenSince.IsZero() || c.Openings != 7 {
			t.Fatalf("closed with %+v, want an empty window and 7 openings", c)
		}
	})
}

// A method whose calls always take longer than Open: were each trial void as soon as the
// next one is given out, none would ever count.
func TestMethodLateTrialsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := breaker.NewMethod(breaker.MethodPolicy{Open: time.Second}, nil)
		call(m, breaker.Failure, 0, 20)
		awaitTrial(m)
		var trials []breaker.Entry
		for range 100 { // a call each 100ms, all of which hang so far
			if e, ok := m.Enter(time.Now()); ok {
				trials = append(trials, e)
			}
			time.Sleep(100 * ms)
		}
		if len(trials) != 10 {
			t.Fatalf("%d trials in 10s, want one each second: the one before is lost by then", len(trials))
		}
		for _, e := range trials[:3] {
			m.Record(e, breaker.Success, 10*time.Second, time.Now())
		}
		wantMethod(t, m, breaker.StateClosed)
		for _, e := range trials[3:] {
			m.Record(e, breaker.Failure, 10*time.Second, time.Now())
		}
		if c := m.Counts(); c.State != breaker.StateClosed || c.Requests != 0 {
			t.Fatalf("trials of an opening that is over counted: %+v", c)
		}
	})
}

// TestLostTrialMakesWayForNone: it ends while the next one runs, beside which a third
// passed.
func TestLostTrialMakesWayForNone(t *testing.T) {
	for _, v := range []breaker.Verdict{breaker.Success, breaker.Ignored} {
		synctest.Test(t, func(t *testing.T) {
			m := breaker.NewMethod(breaker.MethodPolicy{}, nil)
			call(m, breaker.Failure, 0, 20)
			awaitTrial(m)
			lost, _ := m.Enter(time.Now())
			time.Sleep(5 * time.Second)
			running, ok := m.Enter(time.Now())
			if !ok {
				t.Fatal("no trial after one that is lost")
			}
			m.Record(lost, v, 5*time.Second, time.Now())
			if _, ok := m.Enter(time.Now()); ok {
				t.Fatalf("a lost trial ended with %v, and another passed beside the one that runs", v)
			}
			m.Record(running, breaker.Ignored, 0, time.Now())
			if _, ok := m.Enter(time.Now()); !ok {
				t.Fatal("no trial when none runs")
			}
		})
	}
}

func TestMethodIgnoredTrialIsDueAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		m := breaker.NewMethod(breaker.MethodPolicy{}, func(breaker.Change) { changes++ })
		call(m, breaker.Failure, 0, 20)
		awaitTrial(m)
		if n := call(m, breaker.Ignored, time.Hour, 100); n != 100 {
			t.Fatalf("%d trials that said nothing, want each followed by the next", n)
		}
		wantMethod(t, m, breaker.StateHalfOpen)
		if changes != 2 {
			t.Fatalf("told %d changes, want 2: open and half-open", changes)
		}
		call(m, breaker.Success, 0, 3)
		wantMethod(t, m, breaker.StateClosed)
	})
}

func TestMethodReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := breaker.NewMethod(breaker.MethodPolicy{Jitter: 1e-9}, nil)
		call(m, breaker.Failure, 0, 20)
		awaitTrial(m)
		call(m, breaker.Failure, 0, 1)
		awaitTrial(m)
		trial, _ := m.Enter(time.Now())
		m.Reset()
		m.Record(trial, breaker.Failure, 0, time.Now()) // void
		if n := call(m, breaker.Success, 0, 100); n != 100 {
			t.Fatalf("%d of 100 calls passed after the reset", n)
		}
		call(m, breaker.Failure, 0, 100)
		if got := m.RetryAfter(time.Now()).Round(ms); got != 5*time.Second {
			t.Fatalf("open for %v after the reset, want 5s", got)
		}
		m.SetMode(breaker.ForcedOpen)
		m.Reset()
		wantMethod(t, m, breaker.StateOpen) // what a hand did, only a hand undoes
	})
}

func TestMethodEntryOfNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := breaker.NewMethod(breaker.MethodPolicy{}, nil)
		for range 100 {
			m.Record(breaker.Entry{}, breaker.Failure, 0, time.Now())
		}
		if c := m.Counts(); c.Requests != 0 {
			t.Fatalf("an entry of no call was counted: %+v", c)
		}
	})
}
