package balancer

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
)

func pinTo(id string) *Attempt     { return &Attempt{Route: &Route{Instance: id}} }
func stickyTo(key string) *Attempt { return &Attempt{Route: &Route{Key: key}} }

// TestPinned: only that instance, in whatever state, and again for a retry.
func TestPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, state := range []string{"eligible", "ejected", "draining", "not serving", "by hand", "resting"} {
			r := newRigWithBreakers(3, breaker.Policy{})
			i := r.member(t, "i1")
			switch state {
			case "ejected":
				eject(i)
			case "draining":
				i.set(draining)
			case "not serving":
				i.set(notServing)
			case "by hand":
				i.set(forced)
			case "resting":
				r.fleet.Yield(i, time.Minute, r.fleet.now())
			}
			for range 50 {
				first := pinTo("i1")
				second := pinTo("i1")
				second.Prior, second.Rotate = first, true
				if r.mustPick(t, first) != i || r.mustPick(t, second) != i {
					t.Fatalf("%s: went to %s, then to %s", state, first.instance.id, second.instance.id)
				}
			}
			if r.fleet.Another(pinTo("i1")) {
				t.Errorf("%s: there is another for a call that is pinned", state)
			}
		}
	})
}

// TestPinnedToNobody: refused at once, by name, unless the call waits for ready or the
// instance is being connected for the first time.
func TestPinnedToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, refused := limited(2, 20, Config{})
		for _, c := range r.cc.conns {
			c.down = true // hears nothing of a dial
		}
		r.cc.conns[address(0)].listener(balancer.SubConnState{})
		for _, id := range []string{"i0", "nobody"} {
			*refused = nil
			if _, err := r.pick(pinTo(id), r.fleet.now()); !errors.Is(err, errRefused) || (*refused)[0].Pinned != id || (*refused)[0].Full != 0 {
				t.Errorf("pinned to %s: %v, %+v", id, err, *refused)
			}
			waits := pinTo(id)
			waits.WaitForReady = true
			if _, err := r.pick(waits, r.fleet.now()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
				t.Errorf("pinned to %s, and waits for ready: %v", id, err)
			}
		}
		i := r.member(t, "i0")
		r.fleet.mu.Lock()
		i.pending = true
		r.fleet.mu.Unlock()
		if _, err := r.pick(pinTo("i0"), r.fleet.now()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
			t.Errorf("pinned to one that is being connected: %v", err)
		}
	})
}

// TestPinnedIsLimited: its limit counts, whoever else has room.
func TestPinnedIsLimited(t *testing.T) {
	r, refused := limited(2, 20, Config{})
	r.fill(r.member(t, "i0"))
	waits := pinTo("i0")
	waits.WaitForReady, waits.Priority = true, limit.Critical
	for _, a := range []*Attempt{pinTo("i0"), waits} {
		if _, err := r.pick(a, r.fleet.now()); !errors.Is(err, errRefused) {
			t.Errorf("picked, or %v", err)
		}
	}
	for _, why := range *refused {
		if why.Full != 1 || why.Pinned != "i0" {
			t.Errorf("refused with %+v", why)
		}
	}
}

// TestPinnedToOneOfTwo: of several with one ID any serves, one that is eligible first.
func TestPinnedToOneOfTwo(t *testing.T) {
	r := newRig(Config{})
	all := instances(3, nil)
	all[1].ID = "i0"
	r.set(all)
	found := r.fleet.withID("i0")
	if len(found) != 2 {
		t.Fatalf("found %d", len(found))
	}
	found[0].set(notServing)
	for range 20 {
		if i := r.mustPick(t, pinTo("i0")); i != found[1] {
			t.Fatal("picked the one that does not serve")
		}
	}
}

// TestPinnedTakesTheTrial: with all calls pinned, an ejected instance comes back too.
func TestPinnedTakesTheTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(2, breaker.Policy{})
		i := r.member(t, "i0")
		eject(i)
		time.Sleep(6 * time.Second)
		a := pinTo("i0")
		a.Retryable = true
		r.mustPick(t, a)
		r.end(a, breaker.Success, r.fleet.now())
		if i.ejected() {
			t.Error("its trial was due, a call to it succeeded, and it is still ejected")
		}
	})
}

// TestSticky: a key's calls go to one instance, and elsewhere by the key's own order while
// that is out; all keys of the one that is out spread over all others.
func TestSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(5, breaker.Policy{})
		const keys = 1000
		picked := func() []*Instance {
			all := make([]*Instance, keys)
			for k := range all {
				a := stickyTo(fmt.Sprint("key", k))
				all[k] = r.mustPick(t, a)
				a.finished(doneOK)
			}
			return all
		}
		before := picked()
		out := r.member(t, "i2")
		for name, change := range map[string][2]func(){
			"ejected": {func() { eject(out) }, func() { out.breaker.Load().Reset() }},
			"rests":   {func() { r.fleet.Yield(out, time.Minute, r.fleet.now()) }, func() { out.yield.Store(nil) }},
		} {
			change[0]()
			time.Sleep(time.Second) // pickers without it
			r.lb.publish()
			heirs := map[string]int{}
			for k, i := range picked() {
				switch {
				case before[k] != out && i != before[k]:
					t.Fatalf("%s is %s, and a key of %s went to %s", out.id, name, before[k].id, i.id)
				case before[k] == out:
					heirs[i.id]++
				}
			}
			for _, n := range heirs {
				if len(heirs) != 4 || n < 20 {
					t.Errorf("%s is %s, and its keys went to %v", out.id, name, heirs)
					break
				}
			}
			change[1]()
			out.rampStart.Store(r.fleet.now()) // keys do not wait for slow start
			for k, i := range picked() {
				if i != before[k] {
					t.Fatalf("%s is back, and a key of %s went to %s", out.id, before[k].id, i.id)
				}
			}
		}
	})
}

// TestStickyBesideFull: while the key's instance is full, one other serves, and the same
// each time; while all rest, it serves itself.
func TestStickyBesideFull(t *testing.T) {
	r, _ := limited(5, 20, Config{})
	home := r.home(t, "k")
	for _, i := range *r.fleet.members.Load() {
		i.yield.Store(&yield{share: 1, rest: int64(time.Hour), told: 1})
	}
	r.mustPick(t, &Attempt{}) // finds out that all do
	if i := r.home(t, "k"); i != home {
		t.Errorf("all rest, and %s serves the key of %s", i.id, home.id)
	}
	for _, i := range *r.fleet.members.Load() {
		i.yield.Store(nil)
	}
	r.fill(home)
	heir := r.home(t, "k")
	for range 50 {
		if i := r.home(t, "k"); i != heir || i == home {
			t.Fatalf("%s is full, and its key went to %s, then to %s", home.id, heir.id, i.id)
		}
	}
}

// TestStickyRetry goes elsewhere, in the key's own order too.
func TestStickyRetry(t *testing.T) {
	r := newRig(Config{})
	r.set(instances(5, nil))
	var second string
	for range 20 {
		first := stickyTo("k")
		one := r.mustPick(t, first)
		retry := stickyTo("k")
		retry.Prior = first
		two := r.mustPick(t, retry)
		if one == two || second != "" && two.id != second {
			t.Fatalf("picked %s, then %s, after %s before", one.id, two.id, second)
		}
		second = two.id
	}
}

// TestStickyIsServed whoever is out, and by a better one than the key's own if that must
// not be called.
func TestStickyIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(30, breaker.Policy{MaxEjectedRatio: 1})
		for _, i := range *r.fleet.members.Load() {
			if i.id != "i7" {
				eject(i)
			}
		}
		for k := range 200 {
			if i := r.mustPick(t, stickyTo(fmt.Sprint(k))); i.id != "i7" {
				t.Fatalf("picked %s, which is ejected", i.id)
			}
		}
		eject(r.member(t, "i7"))
		for k := range 200 {
			r.mustPick(t, stickyTo(fmt.Sprint(k)))
		}
	})
}

// TestStickyTakesTheTrial: with all calls sticky, an ejected instance gets its trial from
// its own keys.
func TestStickyTakesTheTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{})
		home := r.mustPick(t, stickyTo("k"))
		eject(home)
		time.Sleep(6 * time.Second)
		a := stickyTo("k")
		a.Retryable = true
		if i := r.mustPick(t, a); i != home {
			t.Fatalf("its trial is due, and the key's call went to %s", i.id)
		}
		r.end(a, breaker.Success, r.fleet.now())
		if home.ejected() {
			t.Error("still ejected")
		}
	})
}

// TestStickyFollowsThePriority: keys stand for instances of the active one.
func TestStickyFollowsThePriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		all := instances(4, nil)
		all[2].Priority, all[3].Priority = 1, 1
		r.set(all)
		for k := range 50 {
			if i := r.mustPick(t, stickyTo(fmt.Sprint(k))); i.priority() != 0 {
				t.Fatalf("picked %s, of priority %d", i.id, i.priority())
			}
		}
		r.set(all[2:])
		time.Sleep(time.Second)
		r.cc.drain()
		seen := map[string]int{}
		for k := range 50 {
			seen[r.mustPick(t, stickyTo(fmt.Sprint(k))).id]++
		}
		if len(seen) != 2 {
			t.Errorf("served by %v", seen)
		}
	})
}

// TestRoutesAllocateNothing, nor do limits and shares.
func TestRoutesAllocateNothing(t *testing.T) {
	r, _ := limited(20, 1000, Config{})
	r.member(t, "i3").yield.Store(&yield{share: 0.1, at: r.fleet.now() + int64(time.Hour), told: 1})
	picker := r.picker()
	for name, a := range map[string]*Attempt{"any": {}, "pinned": pinTo("i7"), "sticky": stickyTo("customer 4711")} {
		a.Context, a.Fleet = t.Context(), r.fleet
		info := balancer.PickInfo{Ctx: a}
		pick := func() {
			result, err := picker.Pick(info)
			if err != nil {
				t.Fatal(err)
			}
			result.Done(doneOK)
			a.instance, a.replaced = nil, nil
		}
		pick()
		if n := testing.AllocsPerRun(1000, pick); n != 0 {
			t.Errorf("%s: Pick and Done allocate %v times", name, n)
		}
	}
}
