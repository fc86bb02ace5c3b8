package balancer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
)

// nearFar returns n instances of priority 0 and as many of priority 1.
func nearFar(n int) []discovery.Instance {
	all := instances(2*n, nil)
	for k := n; k < 2*n; k++ {
		all[k].Priority = 1
	}
	return all
}

// dials returns how many there have been.
func (r *rig) dials() int {
	r.cc.mu.Lock()
	defer r.cc.mu.Unlock()
	return r.cc.dials
}

// settle lets connections come about.
func (r *rig) settle() {
	for range 3 {
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		r.cc.drain()
	}
}

// The only near instance fails its calls and may not be ejected. Calls move away from it
// until 30 s have passed since its last failure, and the ten that whoever is back waits.
func TestOverruledIsMovedAwayFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{Breaker: &breaker.Policy{MaxEjectedRatio: 0.1}})
		defer r.lb.Close()
		r.set(nearFar(1))
		r.settle()
		near := r.member(t, "i0")
		fails := func() {
			r.fleet.Charge(near, time.Millisecond, r.fleet.now())
			eject(near)
			r.settle()
			if !near.overruled() {
				t.Fatal("it was ejected")
			}
		}
		want := func(when string, id string) {
			t.Helper()
			r.settle()
			if got := r.mustPick(t, &Attempt{Stream: true}).id; got != id {
				t.Errorf("%s: %s was picked: want %s", when, got, id)
			}
		}
		want("all well", "i0")
		fails()
		want("it fails", "i1")
		time.Sleep(29 * time.Second)
		want("29 s since it failed", "i1")
		fails() // 30 s begin anew
		time.Sleep(39 * time.Second)
		want("39 s since it failed last", "i1")
		time.Sleep(time.Second)
		want("40 s since it failed last", "i0")
		fails()
		want("it fails again", "i1")
	})
}

// The near instances of a client that starts have a second to be connected: until then
// nobody far is dialled, and then they are.
func TestJoiningHaveASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		defer r.lb.Close()
		r.tell(nearFar(3)) // no dial is answered
		synctest.Wait()
		for _, step := range []struct {
			wait  time.Duration
			dials int
		}{{0, 3}, {joining - time.Millisecond, 3}, {2 * time.Millisecond, 6}} {
			time.Sleep(step.wait)
			synctest.Wait()
			if got := r.dials(); got != step.dials {
				t.Errorf("%v later: %d dials: want %d", step.wait, got, step.dials)
			}
		}
		if joining != time.Second || failing != 30*time.Second {
			t.Errorf("joining %v, failing %v: the docs say 1s and 30s", joining, failing)
		}
	})
}
