package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// TestYieldArithmetic: falls to half at most each 100 ms, not below a twentieth, comes back
// in 10 s, and rests for what was asked.
func TestYieldArithmetic(t *testing.T) {
	const s = int64(time.Second)
	type word struct {
		at       int64
		pushback time.Duration
	}
	for _, test := range []struct {
		name  string
		words []word
		now   int64
		share float64
		rest  int64
		tells int
	}{
		{"once", []word{{s, 0}}, s, 0.5, 0, 1},
		{"of one moment", []word{{s, 0}, {s + s/20, 0}, {s + s/11, 0}}, s, 0.5, 0, 1},
		{"twice", []word{{s, 0}, {s + s/10, 0}}, s + s/10, 0.255, 0, 1},
		{"down to the least", []word{{s, 0}, {2 * s, 0}, {2*s + s/10, 0}, {2*s + s/5, 0}, {3 * s, 0}, {3*s + s/10, 0}, {3*s + s/5, 0}, {3*s + 3*s/10, 0}},
			3*s + 3*s/10, leastShare, 0, 3},
		{"half of the way back", []word{{s, 0}}, s + 5*s/2, 0.75, 0, 1},
		{"back", []word{{s, 0}}, s + 5*s, 1, 0, 1},
		{"back, and again", []word{{s, 0}, {9 * s, 0}}, 9 * s, 0.5, 0, 2},
		{"rests", []word{{s, 2 * time.Second}}, 3 * s, 0.5, 3 * s, 1},
		{"comes back from the rest on", []word{{s, 2 * time.Second}}, 5 * s, 0.7, 3 * s, 1},
		{"rests at most 30 s", []word{{s, time.Hour}}, s, 0.5, 31 * s, 1},
		{"the longer rest counts", []word{{s, 2 * time.Second}, {s + 1, time.Second}}, s, 0.5, 3 * s, 1},
		{"a longer rest is not told", []word{{s, 2 * time.Second}, {s + 1, 9 * time.Second}}, s, 0.5, 10*s + 1, 1},
		{"another rest is told", []word{{s, time.Second}, {3 * s, time.Second}}, 3 * s, 0.3, 4 * s, 2},
	} {
		var y *yield
		tells := 0
		for _, w := range test.words {
			next, tell := y.lowered(w.pushback, w.at)
			if tell {
				tells++
			}
			y = &next
		}
		if got := y.of(test.now); math.Abs(got-test.share) > 1e-9 || y.rest != test.rest || tells != test.tells {
			t.Errorf("%s: share %v, rest until %v, told %d times, want %v, %v, %d",
				test.name, got, time.Duration(y.rest), tells, test.share, time.Duration(test.rest), test.tells)
		}
	}
}

// FuzzYield: whatever is said when, the share stays within its bounds, falls by no more
// than half in 100 ms, and is whole again 10 s after all is calm.
func FuzzYield(f *testing.F) {
	f.Add(uint64(1), 20)
	f.Add(uint64(7), 200)
	f.Fuzz(func(t *testing.T, seed uint64, words int) {
		r := rand.New(rand.NewPCG(seed, 1))
		var y *yield
		now, fell := int64(1), int64(math.MinInt64/2)
		for range max(1, min(words, 1000)) {
			now += r.Int64N(int64(time.Second)) >> r.IntN(20)
			pushback := time.Duration(r.Int64N(int64(time.Minute))) * time.Duration(r.IntN(2))
			was := y.of(now)
			next, _ := y.lowered(pushback, now)
			y = &next
			share := y.of(now)
			if share < leastShare || share > 1 || share > was || share < was*yieldFactor-1e-9 {
				t.Fatalf("at %v from %v to %v", time.Duration(now), was, share)
			}
			if share < was && pushback == 0 {
				if now-fell < int64(yieldEach) {
					t.Fatalf("fell twice within %v", time.Duration(now-fell))
				}
				fell = now
			}
			if y.rest > now+int64(maxRest) || pushback > 0 && y.rest < now+int64(min(pushback, maxRest)) {
				t.Fatalf("rests until %v, at %v, for %v", time.Duration(y.rest), time.Duration(now), pushback)
			}
		}
		if calm := max(now, y.at, y.rest) + int64(shareBack); y.of(calm) != 1 {
			t.Fatalf("%v after the last word the share is %v", shareBack, y.of(calm))
		}
	})
}

// TestYieldingGetsLess: with the share at a quarter, an instance gets about a quarter of
// what it would, from either choice; and all of it again when it is back.
func TestYieldingGetsLess(t *testing.T) {
	for _, c := range []Choice{LeastLoaded, RoundRobin} {
		synctest.Test(t, func(t *testing.T) {
			r := weighted(c, 1, 1, 1, 1)
			i := r.member(t, "i0")
			yielding := yield{share: 0.25, at: r.fleet.now(), told: 1}
			i.yield.Store(&yielding)
			got := r.counts(t, 8000)
			if want := 8000 * 0.25 / 3.25; float64(got["i0"]) < want*0.7 || float64(got["i0"]) > want*1.4 {
				t.Errorf("%v: with a quarter of its share it got %d of 8,000, want about %.0f", c, got["i0"], want)
			}
			time.Sleep(shareBack)
			if got := r.counts(t, 8000); got["i0"] < 1600 {
				t.Errorf("%v: back, it got %d of 8,000", c, got["i0"])
			}
			if i.yield.Load() != nil {
				t.Errorf("%v: back, and still looked at", c)
			}
		})
	}
}

// TestAllYield: when all yield, all serve, and by their weights still.
func TestAllYield(t *testing.T) {
	for _, c := range []Choice{LeastLoaded, RoundRobin} {
		synctest.Test(t, func(t *testing.T) {
			weights := []int{1, 2, 4}
			r := weighted(c, weights...)
			for _, i := range *r.fleet.members.Load() {
				i.yield.Store(&yield{share: leastShare, at: r.fleet.now(), told: 1})
			}
			got := r.simulate(8, 20000, constant(time.Nanosecond))
			if d := deviation(got, weights); d > 0.15 {
				t.Errorf("%v: got %v: %.0f %% off", c, got, 100*d)
			}
		})
	}
}

// TestAllYieldByLoad: when all yield, or all rest, the one with 200 calls in flight still
// gets next to none beside the idle one. With a twentieth each, most draws take nobody.
func TestAllYieldByLoad(t *testing.T) {
	for name, y := range map[string]yield{
		"none":  {share: 1},
		"yield": {share: leastShare, at: int64(time.Hour), told: 1},
		"rest":  {share: leastShare, rest: int64(time.Hour), told: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := weighted(LeastLoaded, 1, 1)
			for _, i := range *r.fleet.members.Load() {
				i.yield.Store(&y)
			}
			r.member(t, "i0").inFlight.Store(200)
			if got := r.counts(t, 2000); got["i0"] > 200 {
				t.Errorf("%s: with 200 in flight, and none on the other: %v", name, got)
			}
		})
	}
}

// TestAllYieldUnequally: when all have little, they have it in proportion.
func TestAllYieldUnequally(t *testing.T) {
	for _, c := range []Choice{LeastLoaded, RoundRobin} {
		r := weighted(c, 1, 1, 1, 1, 1, 1, 1, 1)
		for n, i := range *r.fleet.members.Load() {
			i.yield.Store(&yield{share: leastShare * float64(1+n%2), at: int64(time.Hour), told: 1})
		}
		got, less := r.counts(t, 9000), 0
		for n := 0; n < 8; n += 2 {
			less += got[fmt.Sprint("i", n)]
		}
		if less < 2500 || less > 3500 {
			t.Errorf("%v: of 9,000 calls those with half the share got %d, want about 3,000", c, less)
		}
	}
}

// TestSomebodyWakes: that all rest is found out anew each 10 ms.
func TestSomebodyWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{})
		for _, i := range *r.fleet.members.Load() {
			r.fleet.Yield(i, time.Minute, r.fleet.now())
		}
		if got := r.counts(t, 300); len(got) != 3 {
			t.Errorf("all rest, and %v served", got)
		}
		r.member(t, "i1").yield.Store(nil)
		time.Sleep(restLook)
		if got := r.counts(t, 300); got["i1"] != 300 {
			t.Errorf("two rest, and %v served", got)
		}
	})
}

// TestRest: who asked not to be called is not, while another can be, one of another
// priority and one that the call has tried too; when all asked, all serve.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(3, breaker.Policy{})
		a, b, c := r.member(t, "i0"), r.member(t, "i1"), r.member(t, "i2")
		r.fleet.Yield(a, 5*time.Second, r.fleet.now())
		r.fleet.Yield(b, 5*time.Second, r.fleet.now())
		prior := &Attempt{Retryable: true}
		for range 300 {
			if i := r.mustPick(t, prior); i != c {
				t.Fatalf("picked %s, which asked not to be", i.id)
			}
			prior.finished(doneOK)
			if i := r.mustPick(t, &Attempt{Prior: prior}); i != c {
				t.Fatalf("a retry picked %s, which asked not to be", i.id)
			}
			prior = &Attempt{Retryable: true}
		}
		eject(c)
		if got := r.counts(t, 300); got["i2"] != 0 || got["i0"] == 0 || got["i1"] == 0 {
			t.Errorf("the only other one is ejected, and they served %v", got)
		}
		time.Sleep(5 * time.Second)
		if a.rests(r.fleet.now()) {
			t.Error("rests after its time")
		}
	})
}

// TestYieldIsTold once, until its share has halved again.
func TestYieldIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []event.InstanceYields
		r := newRig(Config{Events: func(e event.Event) {
			if y, ok := e.(event.InstanceYields); ok {
				told = append(told, y)
			}
		}})
		r.set(instances(2, nil))
		i := r.member(t, "i0")
		for range 50 {
			r.fleet.Yield(i, 0, r.fleet.now())
			time.Sleep(10 * time.Millisecond)
		}
		if len(told) != 3 || told[0].Share != 0.5 || told[0].Instance != "i0" || told[0].Service != "orders" || told[0].For != 0 {
			t.Errorf("told %+v, want 3 times, from 0.5 on", told)
		}
		r.fleet.Yield(i, time.Minute, r.fleet.now())
		if last := told[len(told)-1]; len(told) != 4 || last.For != maxRest {
			t.Errorf("told %+v, want a rest of %v", last, maxRest)
		}
		for _, s := range r.fleet.Status() {
			if s.ID == "i0" && (s.Share > 0.1 || s.Rest != maxRest) || s.ID == "i1" && (s.Share != 1 || s.Rest != 0) {
				t.Errorf("status of %s: share %v, rest %v", s.ID, s.Share, s.Rest)
			}
		}
	})
}

// TestYieldIsNoDeath: it neither counts for the breaker nor outlives the process.
func TestYieldIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(2, breaker.Policy{})
		i := r.member(t, "i0")
		for range 1000 {
			r.fleet.Yield(i, time.Second, r.fleet.now())
		}
		if !i.eligible() || r.fleet.Status()[0].State != event.Eligible {
			t.Error("taken out for having too much to do")
		}
		r.cc.refuse[i.address] = true
		r.cc.lose(i.address)
		r.cc.refuse[i.address] = false
		r.cc.lose(i.address)
		if i.conn.SubConn() == nil || i.yield.Load() != nil {
			t.Errorf("connected %v to what is another process, it yields still", i.conn.SubConn() != nil)
		}
	})
}
