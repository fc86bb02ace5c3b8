package balancer

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

// TestStateIsKept: what was learned of an instance outlives updates, reconnects, the
// policy, and ten minutes out of the source; not a new incarnation, and not longer.
func TestStateIsKept(t *testing.T) {
	all := instances(3, nil)
	for _, test := range []struct {
		name  string
		do    func(r *rig)
		fresh bool
	}{
		{"weight changed", func(r *rig) {
			changed := instances(3, func(int) int { return 7 })
			r.set(changed)
		}, false},
		{"reconnected", func(r *rig) { r.cc.lose(address(0)) }, false},
		{"out for 9 minutes", func(r *rig) { r.set(all[1:]); time.Sleep(9 * time.Minute); r.set(all) }, false},
		{"out for 11 minutes", func(r *rig) { r.set(all[1:]); time.Sleep(11 * time.Minute); r.set(all) }, true},
		{"policy built anew", func(r *rig) { r.lb.Close(); r.build(); r.set(all) }, false},
		{"policy built anew after 9 minutes", func(r *rig) { r.lb.Close(); time.Sleep(9 * time.Minute); r.build(); r.set(all) }, false},
		{"a new incarnation", func(r *rig) {
			reborn := instances(3, nil)
			reborn[0].Incarnation = "2"
			r.set(reborn)
		}, true},
		{"another address", func(r *rig) {
			moved := instances(3, nil)
			moved[0].Address = "10.9.9.9:80"
			r.set(moved)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigWithBreakers(3, breaker.Policy{})
				before := r.member(t, "i0")
				before.latency.add(50*ms, 10*ms, r.fleet.now())
				eject(before)
				test.do(r)
				synctest.Wait()
				after := r.member(t, "i0")
				if fresh := after != before; fresh != test.fresh {
					t.Errorf("fresh state: %v, want %v", fresh, test.fresh)
				}
				if test.fresh && (after.ejected() || after.latency.value.Load() != 0) {
					t.Error("inherited something")
				}
				if !test.fresh && !after.ejected() {
					t.Error("no longer ejected")
				}
			})
		})
	}
}

// TestRefusedForgets: behind a refused connection is another process, or as good as
// one: its latency and its run of failures are forgotten. Its ejection is not.
func TestRefusedForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(2, breaker.Policy{})
		i := r.member(t, "i0")
		b := i.breaker.Load()
		i.latency.add(50*ms, 10*ms, r.fleet.now())
		for range 4 {
			b.Record(b.Word(), breaker.Failure)
		}
		r.cc.lose(i.address)
		if i.latency.value.Load() == 0 || b.Counts().Run != 4 {
			t.Error("a mere reconnect forgot something")
		}
		r.cc.refuse[i.address] = true
		r.cc.lose(i.address)
		r.cc.refuse[i.address] = false
		r.cc.lose(i.address) // its wait after the refusal is over
		if i.conn.SubConn() == nil {
			t.Fatal("not connected")
		}
		if i.latency.value.Load() != 0 || b.Counts().Run != 0 {
			t.Errorf("after a refusal: latency %v, run %d", i.latency.value.Load(), b.Counts().Run)
		}
	})
}

// share returns the part of the calls that i0 gets.
func (r *rig) share(t *testing.T) float64 {
	t.Helper()
	return float64(r.counts(t, 4000)["i0"]) / 4000
}

func near(got, want float64) bool { return math.Abs(got-want) <= 0.2*want }

// TestSlowStart: who starts slowly, and how.
func TestSlowStart(t *testing.T) {
	all := instances(4, nil)
	down := func(r *rig, d time.Duration) {
		r.cc.refuse[address(0)] = true
		r.cc.lose(address(0))
		time.Sleep(d)
		r.cc.refuse[address(0)] = false
		r.cc.lose(address(0))
	}
	for _, test := range []struct {
		name string
		do   func(r *rig)
		slow bool
	}{
		{"at the start", func(*rig) {}, false},
		{"a mere reconnect", func(r *rig) { r.cc.lose(address(0)) }, false},
		{"9 s without a connection", func(r *rig) { down(r, 9*time.Second) }, false},
		{"11 s without a connection", func(r *rig) { down(r, 11*time.Second) }, true},
		{"9 s out of the source", func(r *rig) { r.set(all[1:]); time.Sleep(9 * time.Second); r.set(all) }, false},
		{"11 s out of the source", func(r *rig) { r.set(all[1:]); time.Sleep(11 * time.Second); r.set(all) }, true},
		{"a newcomer", func(r *rig) {
			reborn := instances(4, nil)
			reborn[0].Incarnation = "2"
			r.set(reborn)
		}, true},
		{"all are newcomers", func(r *rig) {
			reborn := instances(4, nil)
			for n := range reborn {
				reborn[n].Incarnation = "2"
			}
			r.set(reborn)
		}, false},
		{"after an ejection", func(r *rig) {
			for _, i := range *r.fleet.members.Load() {
				if i.id == "i0" {
					eject(i)
					time.Sleep(6 * time.Second)
					a := &Attempt{Retryable: true}
					_, _ = r.pick(a, r.fleet.now())
					r.end(a, breaker.Success, r.fleet.now())
				}
			}
		}, true},
		{"all were out for a minute", func(r *rig) {
			for n := range 4 {
				r.cc.refuse[address(n)] = true
				r.cc.lose(address(n))
			}
			time.Sleep(time.Minute)
			for n := range 4 {
				r.cc.refuse[address(3-n)] = false
				r.cc.lose(address(3 - n)) // i0 is the last
				time.Sleep(50 * time.Millisecond)
			}
		}, false},
		{"the policy was closed for a minute", func(r *rig) {
			r.lb.Close()
			time.Sleep(time.Minute)
			r.build()
			r.set(all)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(Config{Breaker: &breaker.Policy{Jitter: 1e-9}, Policy: Policy{Choice: RoundRobin}})
				r.set(all)
				time.Sleep(time.Minute)
				test.do(r)
				synctest.Wait()
				if !test.slow {
					if got := r.share(t); !near(got, 0.25) {
						t.Errorf("gets %.3f of the calls, want 0.25", got)
					}
					return
				}
				// The part that the others leave: ramp ÷ (ramp + 3).
				for _, step := range []struct {
					wait time.Duration
					ramp float64
				}{{0, 0.1}, {15 * time.Second, 0.5}, {16 * time.Second, 1}} {
					time.Sleep(step.wait)
					if got, want := r.share(t), step.ramp/(step.ramp+3); !near(got, want) {
						t.Errorf("at %v of its ramp it gets %.3f of the calls, want %.3f", step.ramp, got, want)
					}
				}
			})
		})
	}
}

// TestEvents: each change of state is told once.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []event.State
		removed := 0
		r := newRig(Config{Breaker: &breaker.Policy{}, Events: func(e event.Event) {
			switch e := e.(type) {
			case event.InstanceChanged:
				if e.Instance == "i0" {
					seen = append(seen, e.To)
				}
			case event.InstanceRemoved:
				removed++
			}
		}})
		r.set(instances(3, nil))
		eject(r.member(t, "i0"))
		r.cc.refuse[address(0)] = true
		r.cc.lose(address(0))
		r.cc.refuse[address(0)] = false
		r.cc.lose(address(0))
		r.set(instances(3, nil)[1:])
		want := []event.State{event.Eligible, event.Ejected, event.Connecting, event.Failed, event.Ejected}
		if len(seen) != len(want) || removed != 1 {
			t.Fatalf("states %v, removed %d times", seen, removed)
		}
		for n := range want {
			if seen[n] != want[n] {
				t.Errorf("states %v, want %v", seen, want)
				break
			}
		}
	})
}

// TestCap is a random program of failures, losses, reconnects and changes of the set.
// Whatever happens: no breaker trips past half of the connected; right after a loss, no
// more than half wait for their time; everybody is found who is ejected; while one is
// connected somebody is picked; and in the end all come back.
func TestCap(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			all := instances(2+random.IntN(9), nil)
			r := newRig(Config{Breaker: &breaker.Policy{}})
			r.set(all)
			for range 200 {
				members := *r.fleet.members.Load()
				switch op := random.IntN(10); op {
				case 0, 1, 2, 3:
					if len(members) > 0 {
						failOne(t, r, members[random.IntN(len(members))])
					}
				case 4, 5:
					n := random.IntN(len(all))
					r.cc.refuse[all[n].Address] = op == 4
					if r.cc.conns[all[n].Address] != nil {
						r.cc.lose(all[n].Address)
					}
				case 6:
					var some []discovery.Instance
					for _, i := range all {
						if random.IntN(4) > 0 {
							some = append(some, i)
						}
					}
					r.set(some)
				case 7:
					time.Sleep(time.Duration(random.IntN(20000)) * time.Millisecond)
				default:
					a := &Attempt{Retryable: op == 8}
					if _, err := r.pick(a, r.fleet.now()); err == nil {
						r.end(a, breaker.Verdict(random.IntN(3)), r.fleet.now())
					} else if connectedIn(r) > 0 {
						t.Fatalf("seed %d: %d connected, and a pick ended with %v", seed, connectedIn(r), err)
					}
				}
				checkEjected(t, r, seed)
			}
			for _, i := range all {
				r.cc.refuse[i.Address] = false
			}
			r.set(all)
			for _, i := range all {
				if r.member(t, i.ID).conn.SubConn() == nil {
					r.cc.lose(i.Address)
				}
			}
			for range 400 {
				time.Sleep(time.Second)
				a := &Attempt{Retryable: true}
				r.mustPick(t, a)
				r.end(a, breaker.Success, r.fleet.now())
			}
			for _, i := range *r.fleet.members.Load() {
				if i.ejected() {
					t.Errorf("seed %d: %s is ejected for ever: %+v", seed, i.id, i.breaker.Load().Counts())
				}
			}
		})
	}
}

// failOne has an instance fail until its breaker acts, and checks what it may do.
func failOne(t *testing.T, r *rig, i *Instance) {
	was := i.ejected()
	eject(i)
	connected, ejected := r.fleet.census(nil)
	if !was && i.ejected() && i.conn.SubConn() != nil && 2*ejected > connected {
		t.Fatalf("tripped: %d of %d connected are ejected", ejected, connected)
	}
	before := r.published()
	r.lb.publish() // as the loss of a connection does
	if r.published() == before {
		t.Fatal("nothing was published")
	}
	waiting, now := 0, time.Now()
	for _, i := range *r.fleet.members.Load() {
		if b := i.breaker.Load(); i.conn.SubConn() != nil && b.State() == breaker.StateOpen && !b.Due(now) {
			waiting++
		}
	}
	if 2*waiting > connected {
		t.Fatalf("%d of %d connected are ejected and none of them is due", waiting, connected)
	}
}

// checkEjected compares what the fleet holds with what is.
func checkEjected(t *testing.T, r *rig, seed uint64) {
	listed := map[*Instance]bool{}
	for _, i := range *r.fleet.ejected.Load() {
		listed[i] = true
	}
	n := 0
	for _, i := range *r.fleet.members.Load() {
		if i.ejected() {
			n++
			if !listed[i] {
				t.Fatalf("seed %d: %s is ejected, and nobody knows", seed, i.id)
			}
		}
	}
	if n != len(listed) || n > 0 != (r.fleet.nextDue.Load() != 0) {
		t.Fatalf("seed %d: %d are ejected, %d known, next due %d", seed, n, len(listed), r.fleet.nextDue.Load())
	}
}
