package balancer

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
)

// home returns the instance that serves a key.
func (r *rig) home(t testing.TB, key string) *Instance {
	t.Helper()
	a := stickyTo(key)
	i := r.mustPick(t, a)
	a.finished(doneOK)
	return i
}

// tablesTook has the tables of keys look as if they had just been built, in that long: in
// a bubble they take no time.
func (r *rig) tablesTook(d time.Duration) *keyTables {
	t := *r.fleet.keys.Load()
	t.built, t.took = r.fleet.now(), int64(d)
	r.fleet.keys.Store(&t)
	return &t
}

// TestKeysAreBuiltOffThePath: only the first pick with a key builds a table. When the set
// has changed, picks go by the table that is there, and the next one is built beside them.
func TestKeysAreBuiltOffThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(5, nil))
		if r.mustPick(t, &Attempt{}); r.fleet.keys.Load() != nil {
			t.Error("built for a call without a key")
		}
		before := map[string]*Instance{}
		for k := range 200 {
			before[fmt.Sprint(k)] = r.home(t, fmt.Sprint(k))
		}
		r.tablesTook(100 * time.Millisecond)
		r.set(instances(6, nil))
		for key, i := range before {
			if now := r.home(t, key); now != i {
				t.Fatalf("a key of %s went to %s before there was a table with that", i.id, now.id)
			}
		}
		if r.fleet.keys.Load().version == r.fleet.version.Load() {
			t.Error("a call built the table")
		}
		time.Sleep(keyPause * 100 * time.Millisecond)
		synctest.Wait()
		moved := 0
		for key, i := range before {
			if now := r.home(t, key); now != i {
				moved++
				if now.id != "i5" {
					t.Fatalf("a key of %s went to %s", i.id, now.id)
				}
			}
		}
		if moved == 0 {
			t.Error("the one that joined has no keys")
		}
	})
}

// TestKeysAreBuiltSeldom: tables that took long are built again after nine times as long.
func TestKeysAreBuiltSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(5, nil))
		r.home(t, "k")
		slow := r.tablesTook(100 * time.Millisecond)
		for n := range 10 {
			r.set(instances(5, func(i int) int { return 1 + n + i }))
			r.home(t, "k")
			time.Sleep(89 * time.Millisecond)
			if r.fleet.keys.Load().version != slow.version {
				t.Fatalf("built anew within %v", time.Duration(r.fleet.now()-slow.built))
			}
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if r.fleet.keys.Load().version != r.fleet.version.Load() {
			t.Error("not built anew after 900 ms")
		}
	})
}

// TestKeysForgetWhoLeft: no table keeps an instance that has left, asked for or not, and
// its keys are served by others at once.
func TestKeysForgetWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(5, nil))
		kept := func(id string) bool {
			tables := r.fleet.keys.Load()
			if tables == nil {
				return false
			}
			for _, i := range tables.of[0].instances {
				if i != nil && i.id == id {
					return true
				}
			}
			return false
		}
		r.home(t, "k")
		r.set(instances(4, nil))
		if kept("i4") || !kept("i3") {
			t.Errorf("kept the one that left: %v, one that stays: %v", kept("i4"), kept("i3"))
		}
		for k := range 100 {
			if i := r.home(t, fmt.Sprint(k)); i.id == "i4" {
				t.Fatal("served by one that left")
			}
		}
		r.fleet.mu.Lock()
		r.member(t, "i0").member = false // as if it had left since the set was read
		r.fleet.mu.Unlock()
		if r.fleet.buildKeys(); kept("i0") {
			t.Error("kept one that left meanwhile")
		}
		r.lb.Close()
		if r.fleet.keys.Load() != nil {
			t.Error("kept the tables of a closed policy")
		}
	})
}

// TestFoundByID: who joins is found at once, who leaves no more.
func TestFoundByID(t *testing.T) {
	r := newRig(Config{})
	all := instances(3, nil)
	all[1].ID = "i0"
	found := func() string {
		s := ""
		for _, i := range r.fleet.withID("i0") {
			s += i.address + " "
		}
		return s
	}
	r.set(all)
	if want := address(0) + " " + address(1) + " "; found() != want {
		t.Errorf("found %q, want %q", found(), want)
	}
	r.set(all[1:])
	if want := address(1) + " "; found() != want {
		t.Errorf("one of two left: found %q, want %q", found(), want)
	}
	r.set(all[2:])
	if found() != "" {
		t.Errorf("both left: found %q", found())
	}
	if _, err := r.pick(pinTo("i0"), r.fleet.now()); err == nil {
		t.Error("picked one that left")
	}
	r.set(all)
	r.mustPick(t, pinTo("i0"))
	r.lb.Close()
	if found() != "" {
		t.Errorf("closed: found %q", found())
	}
}

// BenchmarkStickyUpdates: picks by key while the weight of one of 1,000 changes each time.
func BenchmarkStickyUpdates(b *testing.B) {
	r := newRig(Config{})
	r.set(instances(1000, nil))
	a := stickyTo("k")
	a.Context, a.Fleet = b.Context(), r.fleet
	picker, info := r.picker(), balancer.PickInfo{Ctx: a}
	for b.Loop() {
		r.fleet.version.Add(1)
		result, err := picker.Pick(info)
		if err != nil {
			b.Fatal(err)
		}
		result.Done(doneOK)
		a.instance, a.replaced = nil, nil
	}
}
