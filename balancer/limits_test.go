package balancer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
)

var doneOK = balancer.DoneInfo{BytesSent: true, BytesReceived: true}

// limited returns n connected instances, each with that limit, and what was refused.
func limited(n, most int, c Config) (*rig, *[]Refusal) {
	refused := &[]Refusal{}
	var mu sync.Mutex
	c.Concurrency = &limit.Concurrency{Limit: most}
	c.Refuse = func(_ string, r Refusal) error {
		mu.Lock()
		defer mu.Unlock()
		*refused = append(*refused, r)
		return errRefused
	}
	r := newRig(c)
	r.set(instances(n, nil))
	return r, refused
}

// fill takes slots of i until there is none.
func (r *rig) fill(i *Instance) {
	for l := i.limits.Load().unary; l.Acquire(context.Background(), limit.Ask{Priority: limit.Critical}, time.Now()) == nil; {
	}
}

// TestFullIsPassedOver by both choices, by scans, for trials, retries and by turns.
func TestFullIsPassedOver(t *testing.T) {
	for _, c := range []Choice{LeastLoaded, RoundRobin} {
		r, _ := limited(3, 20, Config{Policy: Policy{Choice: c}})
		r.fill(r.member(t, "i0"))
		r.fill(r.member(t, "i1"))
		for range 200 {
			for _, a := range []*Attempt{{}, {Retryable: true}, {Rotate: true}, {Route: &Route{Key: "k"}}} {
				if i := r.mustPick(t, a); i.id != "i2" {
					t.Fatalf("%v: %+v: picked %s, which is full", c, a, i.id)
				}
				a.finished(doneOK)
			}
		}
	}
}

// TestFullGetsNoTrial: a trial counts to the limit too.
func TestFullGetsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := limited(3, 20, Config{Breaker: &breaker.Policy{Jitter: 1e-9}})
		i := r.member(t, "i0")
		eject(i)
		time.Sleep(6 * time.Second)
		r.fill(i)
		for range 50 {
			a := &Attempt{Retryable: true}
			if r.mustPick(t, a).id == "i0" {
				t.Fatal("full, and got its trial")
			}
			a.finished(doneOK)
		}
	})
}

// TestAllFull: a call is refused at once, and so is one that waits for ready; neither
// waits in gRPC's queue, nor is it sent to whoever is not eligible. With room it is picked.
func TestAllFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, refused := limited(3, 20, Config{Breaker: &breaker.Policy{}})
		a, b, c := r.member(t, "i0"), r.member(t, "i1"), r.member(t, "i2")
		eject(c)
		r.fill(a)
		r.fill(b)
		for _, at := range []*Attempt{{}, {WaitForReady: true}, {Retryable: true}, {Route: &Route{Key: "k"}}} {
			if i, err := r.pick(at, r.fleet.now()); !errors.Is(err, errRefused) {
				t.Errorf("%+v: picked %s, %v", at, i.ID(), err)
			}
		}
		for _, why := range *refused {
			if why.Full < 1 || why.Known != 3 || why.States[event.Eligible] != 2 {
				t.Errorf("refused with %+v", why)
			}
		}
		b.limits.Load().unary.Release()
		if i := r.mustPick(t, &Attempt{Priority: limit.Critical}); i != b {
			t.Errorf("picked %s, which has no room", i.id)
		}
		if i, err := r.pick(&Attempt{Stream: true}, r.fleet.now()); err != nil {
			t.Errorf("a stream counts to the limit of unary attempts: %v, %v", i.ID(), err)
		}
		// With nobody eligible, those that are not have the same limit.
		eject(a)
		b.set(notServing)
		r.fill(b)
		r.fill(c)
		time.Sleep(refusalLife)
		if i, err := r.pick(&Attempt{}, r.fleet.now()); !errors.Is(err, errRefused) {
			t.Errorf("all full: picked %s, %v", i.ID(), err)
		}
		if last := (*refused)[len(*refused)-1]; last.Full != 3 {
			t.Errorf("refused with %d full, want 3", last.Full)
		}
	})
}

// TestSheddableFirst: what is left of a limit is for the more important.
func TestSheddableFirst(t *testing.T) {
	r, _ := limited(1, 20, Config{})
	taken := map[limit.Priority]int{}
	for _, p := range []limit.Priority{limit.Sheddable, limit.Normal, limit.Critical} {
		for {
			if _, err := r.pick(&Attempt{Priority: p}, r.fleet.now()); err != nil {
				break
			}
			taken[p]++
		}
	}
	if taken[limit.Sheddable] != 16 || taken[limit.Normal] != 3 || taken[limit.Critical] != 1 {
		t.Errorf("of 20 slots: %v", taken)
	}
}

// TestLimitHolds: 64 callers on three instances never have more in flight on one than its
// limit, and whoever is refused found no room.
func TestLimitHolds(t *testing.T) {
	for _, c := range []Choice{LeastLoaded, RoundRobin} {
		const most = 7
		r, refused := limited(3, most, Config{Policy: Policy{Choice: c}})
		var flying [3]atomic.Int64
		var over, served atomic.Int64
		var callers sync.WaitGroup
		for range 64 {
			callers.Go(func() {
				for range 500 {
					a := &Attempt{Priority: limit.Critical}
					i, err := r.pick(a, r.fleet.now())
					if err != nil {
						continue
					}
					n := i.id[1] - '0'
					if flying[n].Add(1) > most {
						over.Add(1)
					}
					served.Add(1)
					flying[n].Add(-1)
					a.finished(doneOK)
				}
			})
		}
		callers.Wait()
		if over.Load() != 0 || served.Load() == 0 || served.Load()+int64(len(*refused)) != 64*500 {
			t.Errorf("%v: %d over the limit, %d served, %d refused", c, over.Load(), served.Load(), len(*refused))
		}
		for _, i := range *r.fleet.members.Load() {
			if n := i.limits.Load().unary.InFlight(); n != 0 {
				t.Errorf("%v: %d slots of %s lost", c, n, i.id)
			}
		}
	}
}

// TestSlotsComeBack, however a pick ends.
func TestSlotsComeBack(t *testing.T) {
	r, _ := limited(2, 20, Config{})
	inFlight := func() (n int) {
		for _, i := range *r.fleet.members.Load() {
			n += i.limits.Load().unary.InFlight()
		}
		return n
	}
	a := &Attempt{}
	r.mustPick(t, a)
	r.mustPick(t, a) // takes the place of the first
	if n := inFlight(); n != 1 {
		t.Errorf("%d slots after a second pick of the same attempt", n)
	}
	a.finished(balancer.DoneInfo{})
	if n := inFlight(); n != 0 {
		t.Errorf("%d slots after a pick that never happened", n)
	}
	r.mustPick(t, a)
	a.finished(doneOK)
	a.finished(doneOK)
	if n := inFlight(); n != 0 {
		t.Errorf("%d slots after the end", n)
	}
	// Under another limit the attempt gives back what it took of the old one.
	r.mustPick(t, a)
	c := *r.fleet.config.Load()
	c.Concurrency = &limit.Concurrency{Limit: 5}
	r.fleet.Configure(c)
	a.finished(doneOK)
	if n := inFlight(); n != 0 {
		t.Errorf("%d slots of the new limit", n)
	}
	c.Concurrency = nil
	r.fleet.Configure(c)
	if s := r.fleet.Status()[0]; s.Limit != 0 || r.member(t, "i0").limits.Load() != nil {
		t.Errorf("switched off, and the limit is %d", s.Limit)
	}
}

// TestStreamsAreLimitedApart: each kind has its own slots.
func TestStreamsAreLimitedApart(t *testing.T) {
	r := newRig(Config{Streams: &limit.Concurrency{Limit: 1}, Concurrency: &limit.Concurrency{Limit: 2}})
	r.set(instances(1, nil))
	r.mustPick(t, &Attempt{Stream: true, Priority: limit.Critical})
	if _, err := r.pick(&Attempt{Stream: true, Priority: limit.Critical}, r.fleet.now()); err == nil {
		t.Error("a second stream")
	}
	r.mustPick(t, &Attempt{Priority: limit.Critical})
	r.mustPick(t, &Attempt{Priority: limit.Critical})
	if s := r.fleet.Status()[0]; s.Limit != 2 || s.StreamLimit != 1 || s.InFlight != 2 || s.Streams != 1 {
		t.Errorf("status %+v", s)
	}
}

// TestLimitNearIsTold once.
func TestLimitNearIsTold(t *testing.T) {
	var told []event.LimitNear
	r, _ := limited(1, 10, Config{Events: func(e event.Event) {
		if n, ok := e.(event.LimitNear); ok {
			told = append(told, n)
		}
	}})
	for range 10 {
		r.mustPick(t, &Attempt{Priority: limit.Critical})
	}
	if len(told) != 1 || told[0] != (event.LimitNear{Service: "orders", Scope: "i0", InFlight: 8, Limit: 10}) {
		t.Errorf("told %+v", told)
	}
}

// TestAdaptiveLimitLearns: from overloads it is told of, it comes down; others teach it
// nothing.
func TestAdaptiveLimitLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{Concurrency: &limit.Concurrency{Adaptive: limit.Adaptive{On: true}}})
		r.set(instances(1, nil))
		i := r.member(t, "i0")
		run := func(n int, o limit.Outcome) int {
			for range n {
				var flying []*Attempt
				for {
					a := &Attempt{Priority: limit.Critical}
					if _, err := r.pick(a, r.fleet.now()); err != nil {
						break
					}
					flying = append(flying, a)
				}
				time.Sleep(10 * time.Millisecond)
				for _, a := range flying {
					a.finished(doneOK)
					a.Measured(o, 10*time.Millisecond, time.Now())
				}
			}
			return i.limits.Load().unary.Limit()
		}
		first := i.limits.Load().unary.Limit()
		if n := run(100, limit.Ignored); n > first {
			t.Errorf("from %d to %d, of what says nothing", first, n)
		}
		grown := run(100, limit.Success)
		if grown <= first {
			t.Errorf("from %d to %d in a second of full use with constant latency", first, grown)
		}
		if n := run(200, limit.Overload); n > grown/2 {
			t.Errorf("from %d to %d while every attempt is turned away", grown, n)
		}
		(&Attempt{}).Measured(limit.Success, time.Second, time.Now()) // none was picked
	})
}

// TestWhoGoesElsewhereWasHeldBack: an adaptive limit, which is measured again if it holds
// calls back, learns of those that passed its instance over, and of nobody who only asked.
func TestWhoGoesElsewhereWasHeldBack(t *testing.T) {
	pick := func(route *Route) func(*rig) {
		return func(r *rig) {
			for range 20 { // some draws do not meet i0
				a := &Attempt{Priority: limit.Critical, Route: route}
				_, _ = r.pick(a, r.fleet.now())
				a.finished(doneOK)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(*rig)
		want bool
	}{
		{"asked for another", func(r *rig) {
			for range 20 {
				r.fleet.Another(&Attempt{Priority: limit.Critical})
			}
		}, false},
		{"asked for the status", func(r *rig) { r.fleet.Status() }, false},
		{"chosen", pick(nil), true},
		{"pinned", pick(&Route{Instance: "i0"}), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(Config{Concurrency: &limit.Concurrency{Adaptive: limit.Adaptive{On: true, Max: 20}}})
			r.set(instances(2, nil))
			l := r.member(t, "i0").limits.Load().unary
			for l.InFlight() < 20 {
				_ = l.Acquire(t.Context(), limit.Ask{Priority: limit.Critical}, time.Now())
			}
			c.do(r)
			dipped := false
			for range 100 {
				time.Sleep(50 * time.Millisecond)
				l.Sample(limit.Sample{Elapsed: 50 * time.Millisecond, Outcome: limit.Success}, time.Now())
				dipped = dipped || l.Limit() < 20
			}
			if dipped != c.want {
				t.Errorf("%s: measured again: %v, want %v", c.name, dipped, c.want)
			}
		})
	}
}

// TestAdaptiveLimitGrowsFromOne: an attempt that has given back its slot was in flight, and
// a limit that it filled was in use.
func TestAdaptiveLimitGrowsFromOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{Concurrency: &limit.Concurrency{Adaptive: limit.Adaptive{On: true, Min: 1, Initial: 1}}})
		r.set(instances(1, nil))
		for range 100 {
			a := &Attempt{}
			r.mustPick(t, a)
			time.Sleep(10 * time.Millisecond)
			a.finished(doneOK)
			a.Measured(limit.Success, 10*time.Millisecond, time.Now())
		}
		if n := r.status(t, "i0").Limit; n < 2 {
			t.Errorf("in full use for a second, the limit is %d", n)
		}
	})
}
