package balancer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
)

// pickOf returns a pick and its end, in a fleet of n of which a part is ejected.
func pickOf(n int, ineligible float64) func() {
	p := breaker.Policy{MaxEjectedRatio: 1, Ejection: time.Hour, MaxEjection: time.Hour}
	r := newRig(Config{Breaker: &p})
	r.set(instances(n, nil))
	members := *r.fleet.members.Load()
	r.lb.hold()
	for k := range int(ineligible * float64(n)) {
		// One breaker's news in ten thousand needs no look at all of them.
		members[k].downSince.Store(-int64(time.Second))
		members[k].breaker.Store(openBreaker)
	}
	r.fleet.updateDue()
	r.lb.release()
	r.lb.mu.Lock()
	picker := r.lb.build(members, r.fleet.now()).Picker
	r.lb.mu.Unlock()
	a := &Attempt{Context: context.Background(), Fleet: r.fleet}
	info := balancer.PickInfo{Ctx: a}
	pick := func() {
		a.Begun = r.fleet.now()
		result, err := picker.Pick(info)
		if err != nil {
			panic(err)
		}
		result.Done(balancer.DoneInfo{BytesSent: true})
		a.instance, a.replaced = nil, nil
	}
	pick()
	return pick
}

// openBreaker is one that is open for the length of a benchmark.
var openBreaker = func() *breaker.Instance {
	b := breaker.NewInstance(breaker.Policy{Ejection: time.Hour, MaxEjection: time.Hour}, breaker.Hooks{})
	for range 5 {
		b.Record(b.Word(), breaker.Failure)
	}
	return b
}()

// BenchmarkPick: Pick and Done. It must cost the same however many instances there are,
// and however few of them are eligible.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		for _, ineligible := range []float64{0, 0.5, 0.9, 0.9999} {
			b.Run(fmt.Sprintf("%d instances, %v %% ineligible", n, 100*ineligible), func(b *testing.B) {
				pick := pickOf(n, ineligible)
				b.ReportAllocs()
				for b.Loop() {
					pick()
				}
			})
		}
	}
}

// BenchmarkPickParallel: picks share no lock.
func BenchmarkPickParallel(b *testing.B) {
	p := breaker.Policy{}
	r := newRig(Config{Breaker: &p, Random: nil})
	r.set(instances(10, nil))
	picker := r.picker()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		a := &Attempt{Context: context.Background(), Fleet: r.fleet}
		info := balancer.PickInfo{Ctx: a}
		for pb.Next() {
			a.Begun = r.fleet.now()
			result, err := picker.Pick(info)
			if err != nil {
				panic(err)
			}
			result.Done(balancer.DoneInfo{BytesSent: true})
			a.instance, a.replaced = nil, nil
		}
	})
}

// BenchmarkFirstSnapshot: from the first snapshot to all connected, the policy's own
// part of it.
func BenchmarkFirstSnapshot(b *testing.B) {
	all := instances(10000, nil)
	for b.Loop() {
		r := newRig(Config{Breaker: &breaker.Policy{}})
		r.set(all)
		b.StopTimer()
		if n := connectedIn(r); n != len(all) {
			b.Fatalf("%d of %d connected", n, len(all))
		}
		r.lb.Close()
		b.StartTimer()
	}
}

// BenchmarkFlap: of 10,000 connections one is lost and comes back, each seen in a picker.
func BenchmarkFlap(b *testing.B) {
	r := newRig(Config{Breaker: &breaker.Policy{}})
	r.set(instances(10000, nil))
	for b.Loop() {
		r.cc.lose(address(4711))
		r.lb.mu.Lock()
		r.lb.build(*r.fleet.members.Load(), r.fleet.now())
		r.lb.mu.Unlock()
	}
}

// BenchmarkUpdate: one weight of 10,000 changes, from the resolver to the picker.
func BenchmarkUpdate(b *testing.B) {
	all := instances(10000, nil)
	r := newRig(Config{Breaker: &breaker.Policy{}})
	r.set(all)
	for b.Loop() {
		all[17].Weight++
		r.set(all)
		r.lb.mu.Lock()
		r.lb.build(*r.fleet.members.Load(), r.fleet.now())
		r.lb.mu.Unlock()
	}
}

// BenchmarkBuild: a picker of 10,000.
func BenchmarkBuild(b *testing.B) {
	r := newRig(Config{Breaker: &breaker.Policy{}})
	r.set(instances(10000, func(n int) int { return n%7 + 1 }))
	for b.Loop() {
		r.lb.mu.Lock()
		r.lb.build(*r.fleet.members.Load(), r.fleet.now())
		r.lb.mu.Unlock()
	}
}

func connectedIn(r *rig) int {
	n := 0
	for _, i := range *r.fleet.members.Load() {
		if i.conn.SubConn() != nil {
			n++
		}
	}
	return n
}

// TestUpdatesOfThousands: neither a change of one in 5,000 nor the loss of one makes
// another reconnect.
func TestUpdatesOfThousands(t *testing.T) {
	all := instances(5000, nil)
	r := newRig(Config{})
	r.set(all)
	if n := connectedIn(r); n != len(all) || r.cc.dials != len(all) {
		t.Fatalf("%d of %d connected, with %d dials", n, len(all), r.cc.dials)
	}
	all[17].Weight = 5
	r.set(all)
	r.set(all[:4999])
	r.set(all)
	r.cc.lose(address(3))
	if want := len(all) + 2; r.cc.dials != want || connectedIn(r) != len(all) {
		t.Errorf("%d connected, with %d dials, want %d", connectedIn(r), r.cc.dials, want)
	}
	r.lb.Close()
}

// BenchmarkRoutes: Pick and Done, among 10, of a pinned call, a sticky one, and any call
// with a limit, with everybody yielding, and when all are full.
func BenchmarkRoutes(b *testing.B) {
	for _, test := range []struct {
		name  string
		most  int // 0: no limit
		route *Route
		share float64
	}{
		{"any", 0, nil, 1},
		{"limit", 1000, nil, 1},
		{"all yield", 0, nil, 0.5},
		{"pinned", 0, &Route{Instance: "i7"}, 1},
		{"sticky", 0, &Route{Key: "customer 4711"}, 1},
		{"full", 5, nil, 1},
	} {
		b.Run(test.name, func(b *testing.B) {
			var c Config
			if test.most > 0 {
				c.Concurrency = &limit.Concurrency{Limit: test.most}
			}
			r := newRig(c)
			r.set(instances(10, nil))
			for _, i := range *r.fleet.members.Load() {
				if test.share < 1 {
					i.yield.Store(&yield{share: test.share, at: int64(time.Hour)})
				}
				if test.name == "full" {
					r.fill(i)
				}
			}
			picker := r.picker()
			a := &Attempt{Context: context.Background(), Fleet: r.fleet, Route: test.route}
			info := balancer.PickInfo{Ctx: a}
			b.ReportAllocs()
			for b.Loop() {
				a.Begun = r.fleet.now()
				if result, err := picker.Pick(info); err == nil {
					result.Done(balancer.DoneInfo{BytesSent: true})
				}
				a.instance, a.replaced = nil, nil
			}
		})
	}
}
