package balancer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A process that stands still must not take that for the silence of others: of a slice
// that took far too long, hardly more than its length counts.
func TestStandingStillDoesNotCount(t *testing.T) {
	const slice = 10 * time.Millisecond
	for _, test := range []struct{ elapsed, want time.Duration }{
		{slice, slice},
		{slice + time.Millisecond, slice + time.Millisecond}, // timers are a little late
		{3 * time.Second, slice * 3 / 2},
	} {
		if got := lived(test.elapsed, slice); got != test.want {
			t.Errorf("of %v, %v counts: want %v", test.elapsed, got, test.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !outwait(t.Context(), 100*time.Millisecond) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("undisturbed, it waited for %v: want 100 ms", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if outwait(ctx, 100*time.Millisecond) {
			t.Error("it waited on after its context had ended")
		}
	})
}

// A look that comes late judges nobody: the answers may be waiting for us.
func TestLateLookJudgesNobody(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(Config{})
			defer r.lb.Close()
			r.set(instances(3, nil))
			a := &Attempt{Patience: minPatience}
			i, err := r.pick(a, r.fleet.now())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(maxTick - 1)
			if late { // as if every look until now had been held up
				r.fleet.monitor.due.Store(r.fleet.now() - int64(time.Second))
				time.Sleep(1)
				synctest.Wait()
				r.fleet.monitor.due.Store(r.fleet.now() - int64(time.Second))
			}
			time.Sleep(2 * maxTick)
			synctest.Wait()
			if got := i.has(suspected); got == late {
				t.Errorf("late %v: suspected %v", late, got)
			}
			a.release()
			time.Sleep(time.Second)
		})
	}
}
