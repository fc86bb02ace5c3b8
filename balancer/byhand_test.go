package balancer

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

func (r *rig) setMode(t testing.TB, id string, m breaker.Mode) {
	t.Helper()
	if err := r.fleet.SetMode(id, m); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) status(t testing.TB, id string) Status {
	t.Helper()
	for _, s := range r.fleet.Status() {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("%s is not in the fleet", id)
	return Status{}
}

// TestForcedOpen: no calls and no trials, with a breaker or without, through reconnects,
// new incarnations and Configure, until the mode changes; then slowly.
func TestForcedOpen(t *testing.T) {
	for _, p := range []*breaker.Policy{nil, {Jitter: 1e-9}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(Config{Breaker: p})
			all := instances(3, nil)
			r.set(all)
			r.setMode(t, "i1", breaker.ForcedOpen)
			out := func(when string) {
				t.Helper()
				if s := r.status(t, "i1"); s.State != event.Ejected || s.Mode != breaker.ForcedOpen || s.Why != "ejected by hand" || s.Eligible() {
					t.Errorf("%s: %+v", when, s)
				}
				if got := r.counts(t, 200); got["i1"] != 0 {
					t.Errorf("%s: served %v", when, got)
				}
			}
			out("at once")
			r.cc.lose(address(1))
			out("reconnected")
			c := *r.fleet.config.Load()
			c.Breaker = &breaker.Policy{ConsecutiveFailures: 7, Jitter: 1e-9}
			r.fleet.Configure(c)
			out("under another policy")
			all[1].Incarnation = "2"
			r.set(all)
			out("as another process")
			time.Sleep(time.Minute)
			if i := r.mustPick(t, &Attempt{Retryable: true}); i.id == "i1" {
				t.Error("got a trial")
			}
			r.setMode(t, "i1", breaker.Automatic)
			if s := r.status(t, "i1"); s.State != event.Eligible || s.Mode != breaker.Automatic || s.SlowStart > 0.2 || !s.Eligible() {
				t.Errorf("given back: %+v", s)
			}
			time.Sleep(time.Minute)
			if got := r.counts(t, 300); got["i1"] < 50 {
				t.Errorf("given back for a minute, and served %v", got)
			}
		})
	}
}

// TestForcedOpenIsLast: it serves only when nobody else has a connection.
func TestForcedOpenIsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(2, breaker.Policy{MaxEjectedRatio: 1})
		r.setMode(t, "i0", breaker.ForcedOpen)
		r.member(t, "i1").set(draining)
		for range 20 {
			if i := r.mustPick(t, &Attempt{}); i.id != "i1" {
				t.Fatal("picked what was taken out by hand")
			}
			if i := r.mustPick(t, &Attempt{Rotate: true}); i.id != "i1" {
				t.Fatal("a trial of the service went to what was taken out by hand")
			}
		}
		r.set(instances(2, nil)[:1])
		if i := r.mustPick(t, &Attempt{}); i.id != "i0" {
			t.Errorf("picked %s", i.id)
		}
	})
}

// TestForcedOpenAfterAll: whoever else has a connection comes first, full or tried: a call
// is refused rather than sent to what was taken out by hand.
func TestForcedOpenAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := limited(2, 20, Config{Breaker: &breaker.Policy{MaxEjectedRatio: 1}})
		other := r.member(t, "i1")
		r.setMode(t, "i0", breaker.ForcedOpen)
		eject(other)
		first := &Attempt{}
		r.mustPick(t, first)
		if i := r.mustPick(t, &Attempt{Prior: first}); i != other {
			t.Errorf("a retry went to %s", i.id)
		}
		r.fill(other)
		for _, a := range []*Attempt{{}, {Rotate: true}, {Route: &Route{Key: "k"}}, {WaitForReady: true}} {
			if i, err := r.pick(a, r.fleet.now()); !errors.Is(err, errRefused) {
				t.Errorf("the other is full, and %+v went to %s, %v", a, i.ID(), err)
			}
		}
		r.set(instances(1, nil))
		for _, a := range []*Attempt{{}, {Rotate: true}, {Route: &Route{Key: "k"}}} {
			r.mustPick(t, a)
		}
	})
}

// TestForcedOpenIsNotInTheCap: of what is left, half may be ejected.
func TestForcedOpenIsNotInTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(6, breaker.Policy{})
		r.setMode(t, "i0", breaker.ForcedOpen)
		r.setMode(t, "i1", breaker.ForcedOpen)
		for _, id := range []string{"i2", "i3", "i4"} {
			eject(r.member(t, id))
		}
		ejected := 0
		for _, s := range r.fleet.Status() {
			if s.State == event.Ejected && s.Mode == breaker.Automatic {
				ejected++
			}
		}
		if ejected != 2 {
			t.Errorf("%d of the four that are left are ejected, want 2", ejected)
		}
	})
}

// TestDisabled: its breaker lets all through, also one that Configure brings.
func TestDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(3, nil))
		r.setMode(t, "i1", breaker.Disabled)
		c := *r.fleet.config.Load()
		c.Breaker = &breaker.Policy{}
		r.fleet.Configure(c)
		i := r.member(t, "i1")
		eject(i)
		if s := r.status(t, "i1"); s.State != event.Eligible || s.Mode != breaker.Disabled || s.Breaker.Mode != breaker.Disabled {
			t.Errorf("failed 5 times with its breaker disabled: %+v", s)
		}
		r.setMode(t, "i1", breaker.ForcedOpen)
		if !i.has(forced) || i.eligible() {
			t.Error("not forced open after having been disabled")
		}
		r.setMode(t, "i1", breaker.Automatic)
		eject(i)
		if s := r.status(t, "i1"); s.State != event.Ejected || s.Why == "ejected by hand" {
			t.Errorf("failed 5 times with its breaker back: %+v", s)
		}
		r.setMode(t, "i1", breaker.Automatic)
		if !i.eligible() {
			t.Error("set to automatic, its breaker does not begin closed")
		}
	})
}

// TestSetModeOfNobody is an error that tells how many there are, unless it ends what was
// set before.
func TestSetModeOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(3, nil))
		if err := r.fleet.SetMode("x", breaker.ForcedOpen); err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), "3 known") {
			t.Errorf("error %v", err)
		}
		if err := r.fleet.SetMode("i0", breaker.Disabled+1); err == nil {
			t.Error("a mode that there is not")
		}
		r.setMode(t, "i0", breaker.ForcedOpen)
		r.set(instances(3, nil)[1:])
		time.Sleep(linger)
		r.setMode(t, "i0", breaker.ForcedOpen) // that comes back, maybe
		time.Sleep(time.Second)
		if err := r.fleet.SetMode("i0", breaker.Disabled); err == nil {
			t.Error("set for one that is gone")
		}
		r.set(instances(3, nil))
		if s := r.status(t, "i0"); s.Mode != breaker.ForcedOpen || s.State != event.Ejected {
			t.Errorf("back after a while: %+v", s)
		}
		r.set(instances(3, nil)[1:])
		time.Sleep(linger + time.Second)
		r.set(instances(2, nil)[1:])
		r.setMode(t, "i0", breaker.Automatic)
	})
}

// TestModeIsTold as any other change of an instance.
func TestModeIsTold(t *testing.T) {
	var told []string
	r := newRig(Config{Breaker: &breaker.Policy{}, Events: func(e event.Event) {
		if c, ok := e.(event.InstanceChanged); ok && c.Instance == "i0" {
			told = append(told, string(c.To)+": "+c.Why)
		}
	}})
	r.set(instances(2, nil))
	told = nil
	r.setMode(t, "i0", breaker.ForcedOpen)
	r.setMode(t, "i0", breaker.ForcedOpen)
	r.setMode(t, "i0", breaker.Automatic)
	if got := strings.Join(told, "; "); got != "ejected: ejected by hand; eligible: no longer ejected by hand" {
		t.Errorf("told %q", got)
	}
}

// TestDryRun: what the breaker would have done is told, and nothing is done.
func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var would, changed int
		r := newRig(Config{Breaker: &breaker.Policy{DryRun: true}, Events: func(e event.Event) {
			switch e := e.(type) {
			case event.InstanceWouldChange:
				would++
				if e.Instance != "i0" || e.Service != "orders" || e.Why == "" {
					t.Errorf("told %+v", e)
				}
			case event.InstanceChanged:
				if e.Instance == "i0" {
					changed++
				}
			}
		}})
		r.set(instances(3, nil))
		i := r.member(t, "i0")
		changed = 0
		eject(i)
		if would != 1 || changed != 0 || !i.eligible() || i.downSince.Load() != 0 || i.tripping.Load() || r.fleet.nextDue.Load() != 0 {
			t.Errorf("told %d times, %d changes, eligible %v, due at %d", would, changed, i.eligible(), r.fleet.nextDue.Load())
		}
		if got := r.counts(t, 300); got["i0"] < 50 {
			t.Errorf("served %v", got)
		}
	})
}

// TestModeIsOverruled: what is set while an earlier mode is being imposed is what counts,
// also for the breaker.
func TestModeIsOverruled(t *testing.T) {
	var r *rig
	r = newRig(Config{Breaker: &breaker.Policy{}, Events: func(e event.Event) {
		if c, ok := e.(event.InstanceChanged); ok && c.Why == "ejected by hand" {
			r.setMode(t, "i0", breaker.Disabled)
		}
	}})
	r.set(instances(2, nil))
	r.setMode(t, "i0", breaker.ForcedOpen)
	if s := r.status(t, "i0"); s.Mode != breaker.Disabled || s.State != event.Eligible || s.Breaker.Mode != breaker.Disabled {
		t.Errorf("disabled while it was being forced open: mode %v, %v, breaker %v", s.Mode, s.State, s.Breaker.Mode)
	}
}

// TestModeIsTheLast: whatever many set at once, the instance ends as the fleet says.
func TestModeIsTheLast(t *testing.T) {
	r := newRig(Config{Breaker: &breaker.Policy{}})
	r.set(instances(2, nil))
	for range 50 {
		var hands sync.WaitGroup
		for n := range 8 {
			hands.Go(func() { _ = r.fleet.SetMode("i0", breaker.Mode(n%3)) })
		}
		hands.Wait()
		i, s := r.member(t, "i0"), r.status(t, "i0")
		if i.has(forced) != (s.Mode == breaker.ForcedOpen) || s.Breaker.Mode != breakers(s.Mode) {
			t.Fatalf("mode %v, taken out %v, breaker %v", s.Mode, i.has(forced), s.Breaker.Mode)
		}
	}
}
