package balancer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// newRigWithBreakers returns n connected instances with breakers. Use it in a bubble.
func newRigWithBreakers(n int, p breaker.Policy) *rig {
	p.Jitter = 1e-9
	r := newRig(Config{Breaker: &p})
	r.set(instances(n, nil))
	return r
}

// eject makes the instance fail until its breaker has to act.
func eject(i *Instance) {
	b := i.breaker.Load()
	for range 5 {
		b.Record(b.Word(), breaker.Failure)
	}
}

func (r *rig) mustPick(t testing.TB, a *Attempt) *Instance {
	t.Helper()
	i, err := r.pick(a, r.fleet.now())
	if err != nil {
		t.Fatalf("pick: %v", err)
	}
	return i
}

// counts picks n times, with no answers, and counts by instance.
func (r *rig) counts(t testing.TB, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		a := &Attempt{Stream: true}
		got[r.mustPick(t, a).id]++
		a.finished(balancer.DoneInfo{BytesSent: true})
	}
	return got
}

// TestLastResort: eligible and not tried; then eligible; then ejected ones; then nobody.
func TestLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{MaxEjectedRatio: 1})
		a, b, c := r.member(t, "i0"), r.member(t, "i1"), r.member(t, "i2")
		eject(a)
		for range 50 {
			first := &Attempt{}
			one := r.mustPick(t, first)
			second := &Attempt{Prior: first}
			two := r.mustPick(t, second)
			if one == a || two == a || one == two {
				t.Fatalf("picked %s, then %s: want i1 and i2", one.id, two.id)
			}
			if three := r.mustPick(t, &Attempt{Prior: second}); three == a {
				t.Fatal("picked the ejected one, with two eligible")
			}
		}
		eject(b)
		eject(c)
		seen := map[string]int{}
		for range 50 {
			first := &Attempt{}
			seen[r.mustPick(t, first).id]++
			if second := r.mustPick(t, &Attempt{Prior: first}); second == first.instance {
				t.Fatal("all ejected: picked the same twice")
			}
		}
		if len(seen) != 3 {
			t.Errorf("all ejected: served %v, want all three", seen)
		}
		for n := range 3 {
			r.cc.refuse[address(n)] = true
			r.cc.lose(address(n))
		}
		if _, err := r.pick(&Attempt{}, r.fleet.now()); !errors.Is(err, errRefused) {
			t.Errorf("nothing connected: %v", err)
		}
		if _, err := r.pick(&Attempt{WaitForReady: true}, r.fleet.now()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
			t.Errorf("nothing connected, and the call waits for ready: %v", err)
		}
		refusal := r.fleet.Refusal()
		if refusal.Known != 3 || refusal.States[event.Failed] != 3 || refusal.LastErr == nil {
			t.Errorf("refusal %+v", refusal)
		}
	})
}

// TestReconnectIsAwaited: calls wait a second for a lost connection rather than being
// refused, also long after the last picker was built.
func TestReconnectIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(1, nil))
		time.Sleep(time.Hour)
		i := r.member(t, "i0")
		r.cc.mu.Lock()
		r.cc.conns[i.address].down = true // hears nothing of the dial
		r.cc.mu.Unlock()
		r.cc.conns[i.address].listener(balancer.SubConnState{})
		if _, err := r.pick(&Attempt{}, r.fleet.now()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
			t.Errorf("at the loss: %v, want that the call waits", err)
		}
		time.Sleep(999 * time.Millisecond)
		if _, err := r.pick(&Attempt{}, r.fleet.now()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
			t.Errorf("999 ms after: %v, want that the call waits", err)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if _, err := r.pick(&Attempt{}, r.fleet.now()); !errors.Is(err, errRefused) {
			t.Errorf("1 s after: %v, want a refusal", err)
		}
	})
}

// TestTrial: who gets the trial of an ejected instance, and when.
func TestTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{})
		a := r.member(t, "i0")
		eject(a)
		time.Sleep(4900 * time.Millisecond)
		for range 100 {
			if r.mustPick(t, &Attempt{Retryable: true}) == a {
				t.Fatal("picked before its ejection is over")
			}
		}
		time.Sleep(200 * time.Millisecond)
		for range 100 {
			if r.mustPick(t, &Attempt{Stream: true, Retryable: true}) == a {
				t.Fatal("a stream got the trial")
			}
			if r.mustPick(t, &Attempt{}) == a {
				t.Fatal("a call that cannot be retried got the trial at once")
			}
		}
		time.Sleep(dueRecheck)
		first := &Attempt{Retryable: true}
		if r.mustPick(t, first) != a {
			t.Fatal("a retryable call did not get the due trial")
		}
		for range 100 {
			if r.mustPick(t, &Attempt{Retryable: true}) == a {
				t.Fatal("two calls got the trial")
			}
		}
		r.end(first, breaker.Failure, r.fleet.now())
		if !a.ejected() {
			t.Fatal("back after a failed trial")
		}
		time.Sleep(10*time.Second + trialPatience + dueRecheck)
		last := &Attempt{}
		if r.mustPick(t, last) != a {
			t.Fatal("10 s after it was due, no call was taken for the trial")
		}
		r.end(last, breaker.Success, r.fleet.now())
		if a.ejected() || a.rampStart.Load() == 0 {
			t.Errorf("after a trial that succeeded: ejected %v, slow start since %d", a.ejected(), a.rampStart.Load())
		}
	})
}

// TestLostTrial: a trial that nobody ends does not keep the instance out for ever.
func TestLostTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(2, breaker.Policy{})
		a := r.member(t, "i0")
		eject(a)
		time.Sleep(6 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		lost := &Attempt{Retryable: true, Context: ctx}
		if r.mustPick(t, lost) != a {
			t.Fatal("no trial")
		}
		time.Sleep(2 * time.Second) // past the call's deadline
		next := &Attempt{Retryable: true}
		if r.mustPick(t, next) != a {
			t.Fatal("the lost trial was not given out anew")
		}
		r.end(next, breaker.Success, r.fleet.now())
		r.end(lost, breaker.Failure, r.fleet.now())
		if a.ejected() {
			t.Error("the lost trial's late end ejected it again")
		}
	})
}

// TestEjectedComesBack: an instance that left and came back while ejected is still
// ejected, and still gets its trial. So after the policy was built anew.
func TestEjectedComesBack(t *testing.T) {
	for _, how := range []string{"relisted", "rebuilt", "reconnected"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigWithBreakers(3, breaker.Policy{})
				a := r.member(t, "i0")
				eject(a)
				switch how {
				case "relisted":
					r.set(instances(3, nil)[1:])
					r.set(instances(3, nil))
				case "rebuilt":
					r.lb.Close()
					r.build()
					r.set(instances(3, nil))
				case "reconnected":
					r.cc.lose(a.address)
				}
				if r.member(t, "i0") != a || !a.ejected() {
					t.Fatal("its state was lost")
				}
				if got := r.counts(t, 100); got["i0"] != 0 {
					t.Errorf("ejected, and served %v", got)
				}
				time.Sleep(6 * time.Second)
				trial := &Attempt{Retryable: true}
				if r.mustPick(t, trial) != a {
					t.Fatal("its trial is due, and nobody got it")
				}
				r.end(trial, breaker.Success, r.fleet.now())
				time.Sleep(time.Minute)
				if got := r.counts(t, 300); got["i0"] == 0 {
					t.Errorf("back, and served %v", got)
				}
			})
		})
	}
}

// TestReplacedBreaker: an attempt that began under a breaker which Configure replaced
// takes nobody out.
func TestReplacedBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{})
		a := r.member(t, "i0")
		old := a.breaker.Load()
		c := *r.fleet.config.Load()
		c.Breaker = &breaker.Policy{ConsecutiveFailures: 9}
		r.fleet.Configure(c)
		for range 5 {
			old.Record(old.Word(), breaker.Failure)
		}
		time.Sleep(time.Second)
		r.lb.publish()
		if got := r.counts(t, 300); got["i0"] < 50 {
			t.Errorf("served %v: want all three", got)
		}
		if a.tripping.Load() {
			t.Error("counts as ejected for ever")
		}
	})
}

// TestRotate: trials of the service breaker go round, whoever is ejected, and find
// somebody even if all were tried.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{MaxEjectedRatio: 1})
		for _, i := range *r.fleet.members.Load() {
			eject(i)
		}
		seen := map[*Instance]int{}
		for range 9 {
			seen[r.mustPick(t, &Attempt{Rotate: true})]++
		}
		for i, n := range seen {
			if n != 3 {
				t.Errorf("%s got %d of 9 turns", i.id, n)
			}
		}
		var prior *Attempt
		for range 5 {
			a := &Attempt{Rotate: true, Prior: prior}
			r.mustPick(t, a)
			prior = a
		}
	})
}

// TestScanAsksForRebuild: a pick that meets only ineligible ones has the next picker made
// without them.
func TestScanAsksForRebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(50, breaker.Policy{MaxEjectedRatio: 1})
		for _, i := range (*r.fleet.members.Load())[1:] {
			eject(i)
		}
		time.Sleep(time.Second)
		if n := len(r.picker().(*picker).eligible); n < 50 {
			t.Fatalf("%d of 50 in the picker before a call", n)
		}
		if got := r.counts(t, 50); got["i0"] != 50 {
			t.Errorf("49 of 50 are ejected, and %v served", got)
		}
		synctest.Wait()
		if n := len(r.picker().(*picker).eligible); n != 1 {
			t.Errorf("%d in the picker, want 1", n)
		}
	})
}

// TestNeverHappened: a pick whose connection was gone leaves no trace.
func TestNeverHappened(t *testing.T) {
	r := newRig(Config{})
	r.set(instances(2, nil))
	a := &Attempt{}
	i := r.mustPick(t, a)
	a.finished(balancer.DoneInfo{})
	if a.Instance() != nil || i.inFlight.Load() != 0 || a.tried(i) {
		t.Errorf("instance %v, in flight %d, tried %v", a.Instance(), i.inFlight.Load(), a.tried(i))
	}
}

// TestReplacedPick: a pick that follows another of the same attempt goes elsewhere, and
// the first is no longer in flight.
func TestReplacedPick(t *testing.T) {
	r := newRig(Config{})
	r.set(instances(2, nil))
	for range 20 {
		a := &Attempt{}
		first := r.mustPick(t, a)
		second := r.mustPick(t, a)
		if first == second || first.inFlight.Load() != 0 || second.inFlight.Load() != 1 {
			t.Fatalf("picked %s and %s, in flight %d and %d", first.id, second.id, first.inFlight.Load(), second.inFlight.Load())
		}
		a.finished(balancer.DoneInfo{BytesSent: true})
		if second.inFlight.Load() != 0 {
			t.Fatal("in flight after its end")
		}
	}
}

// TestForeignAttempt: a call that passed none of our interceptors is picked for too.
func TestForeignAttempt(t *testing.T) {
	r := newRig(Config{})
	r.set(instances(1, nil))
	result, err := r.picker().Pick(balancer.PickInfo{Ctx: context.Background()})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.member(t, "i0").inFlight.Load(); n != 1 {
		t.Errorf("in flight %d", n)
	}
	result.Done(balancer.DoneInfo{BytesSent: true})
	if n := r.member(t, "i0").inFlight.Load(); n != 0 {
		t.Errorf("in flight %d after its end", n)
	}
}

// TestPickAllocatesNothing, whoever is eligible.
func TestPickAllocatesNothing(t *testing.T) {
	for _, ineligible := range []float64{0, 0.5, 0.9, 0.99} {
		t.Run(fmt.Sprint(ineligible), func(t *testing.T) {
			pick := pickOf(1000, ineligible)
			if n := testing.AllocsPerRun(2000, pick); n != 0 {
				t.Errorf("Pick and Done allocate %v times", n)
			}
		})
	}
}
