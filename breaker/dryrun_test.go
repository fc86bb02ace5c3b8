package breaker_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

// spoken is a change in short.
func spoken(c breaker.Change) string {
	s := fmt.Sprintf("%v to %v", c.From, c.To)
	if c.Overruled {
		s += ", overruled"
	}
	if !c.DryRun {
		s += ", and it is so"
	}
	return s
}

// Whatever the instance does, its attempts pass; what would have been is told more than
// once, by the times of the policy.
func TestInstanceDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		b := breaker.NewInstance(breaker.Policy{DryRun: true}, breaker.Hooks{Rand: middle, Changed: func(c breaker.Change) {
			told = append(told, spoken(c))
			if (c.To == breaker.StateOpen) == c.Until.IsZero() || c.Why == "" {
				t.Errorf("incomplete change: %+v", c)
			}
		}})
		check := func(want breaker.State) {
			t.Helper()
			wantState(t, b, breaker.StateClosed) // what it does
			if _, ok := tryTrial(b); ok || b.Due(time.Now().Add(time.Hour)) {
				t.Fatal("gives out a trial in a dry run")
			}
			if got := breaker.Decided(b.Word()); got != want || b.Counts().State != want || !b.Counts().DryRun {
				t.Fatalf("would be %v, want %v: %+v", got, want, b.Counts())
			}
		}
		record(b, breaker.Failure, 4)
		check(breaker.StateClosed)
		for _, ejected := range []time.Duration{5, 10, 20} {
			record(b, breaker.Failure, 1)
			check(breaker.StateOpen)
			if got := time.Until(b.Counts().EjectedUntil); got != ejected*time.Second {
				t.Fatalf("would be ejected for %v, want %ds", got, ejected)
			}
			time.Sleep(ejected*time.Second - 1)
			record(b, breaker.Success, 100) // it would have got none of them
			check(breaker.StateOpen)
			time.Sleep(1)
			record(b, breaker.Ignored, 1) // says nothing: the next one is the trial
			check(breaker.StateOpen)
		}
		record(b, breaker.Success, 1)
		check(breaker.StateClosed)
		record(b, breaker.Failure, 5)
		check(breaker.StateOpen)

		want := []string{
			"closed to open",
			"open to half-open", "half-open to open",
			"open to half-open", "half-open to open",
			"open to half-open", "half-open to closed",
			"closed to open",
		}
		if !slices.Equal(told, want) {
			t.Fatalf("told %q, want %q", told, want)
		}
	})
}

// An attempt that was picked before the ejection would have begun is not its trial,
// however late it ends.
func TestInstanceDryRunDropsWhatIsFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{DryRun: true}, breaker.Hooks{})
		early := b.Word()
		record(b, breaker.Failure, 5)
		time.Sleep(time.Minute)
		b.Record(early, breaker.Success)
		if got := b.Counts().State; got != breaker.StateOpen {
			t.Fatalf("would be %v by the word of an earlier attempt, want open", got)
		}
	})
}

// The cap is asked, or the dry run would show a fleet's end that cannot come.
func TestInstanceDryRunOverruled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		b := breaker.NewInstance(breaker.Policy{DryRun: true}, breaker.Hooks{
			MayEject: func() bool { return false },
			Changed:  func(c breaker.Change) { told = append(told, spoken(c)) },
		})
		record(b, breaker.Failure, 5)
		if b.Overruled() || !b.Counts().Overruled {
			t.Fatalf("overruled %v, would be %v; want false, true", b.Overruled(), b.Counts().Overruled)
		}
		record(b, breaker.Success, 1)
		if want := []string{"closed to closed, overruled", "closed to closed"}; !slices.Equal(told, want) {
			t.Fatalf("told %q, want %q", told, want)
		}
	})
}

func TestMethodDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		m := breaker.NewMethod(breaker.MethodPolicy{DryRun: true, SlowCall: time.Second},
			func(c breaker.Change) { told = append(told, spoken(c)) })
		pass := func(v breaker.Verdict, elapsed time.Duration, n int, want breaker.State) {
			t.Helper()
			if passed := call(m, v, elapsed, n); passed != n || m.RetryAfter(time.Now()) != 0 {
				t.Fatalf("%d of %d calls passed in a dry run", passed, n)
			}
			wantMethod(t, m, breaker.StateClosed) // what it does
			if got := m.Counts().State; got != want {
				t.Fatalf("would be %v, want %v: %+v", got, want, m.Counts())
			}
		}
		pass(breaker.Success, time.Second, 20, breaker.StateOpen)
		pass(breaker.Success, 0, 100, breaker.StateOpen)
		time.Sleep(time.Until(m.Counts().OpenUntil))
		pass(breaker.Success, 0, 2, breaker.StateHalfOpen)
		pass(breaker.Success, time.Second, 1, breaker.StateOpen)
		time.Sleep(time.Until(m.Counts().OpenUntil))
		pass(breaker.Ignored, 0, 9, breaker.StateOpen)
		pass(breaker.Success, 0, 3, breaker.StateClosed)
		want := []string{
			"closed to open", "open to half-open", "half-open to open", "open to half-open", "half-open to closed",
		}
		if !slices.Equal(told, want) {
			t.Fatalf("told %q, want %q", told, want)
		}
	})
}

func TestServiceDryRun(t *testing.T) {
	var told []string
	s := breaker.NewService(breaker.ServicePolicy{DryRun: true}, func(c breaker.Change) { told = append(told, spoken(c)) })
	for n := range 3 {
		start := time.Duration(n) * time.Minute
		outage(s, start, start+10*time.Second, 50*ms)
		if c := s.Counts(); c.State != breaker.StateOpen || !c.DryRun || s.Open() {
			t.Fatalf("open is %v and it would be %+v, want false and open", s.Open(), c)
		}
		for range 100 {
			if ok, trial := s.Allow(at(start + 10*time.Second)); !ok || trial {
				t.Fatalf("allowed %v, trial %v in a dry run, want true, false", ok, trial)
			}
		}
		s.Success(at(start + 11*time.Second))
		if got := s.Counts().State; got != breaker.StateClosed {
			t.Fatalf("would be %v after a success, want closed", got)
		}
	}
	want := slices.Repeat([]string{"closed to open", "open to closed"}, 3)
	if !slices.Equal(told, want) {
		t.Fatalf("told %q, want %q", told, want)
	}
}
