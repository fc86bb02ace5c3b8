package balancer

import (
	"container/heap"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

func nanoseconds(n int64) time.Duration { return time.Duration(n) }

// running is a call that ends at a moment.
type running struct {
	attempt *Attempt
	at      int64
	verdict breaker.Verdict
}

type calls []running

func (c calls) Len() int           { return len(c) }
func (c calls) Less(i, j int) bool { return c[i].at < c[j].at }
func (c calls) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *calls) Push(x any)        { *c = append(*c, x.(running)) }
func (c *calls) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// simulate has callers make total calls, each its next one when the last has ended, and
// returns how many each instance got. serve says how long an instance takes, and how it
// ends.
func (r *rig) simulate(callers, total int, serve func(*Instance) (time.Duration, breaker.Verdict)) map[string]int {
	got := map[string]int{}
	var flying calls
	now := r.fleet.now()
	begin := func() {
		a := &Attempt{}
		i, err := r.pick(a, now)
		if err != nil {
			panic(err)
		}
		got[i.id]++
		d, v := serve(i)
		heap.Push(&flying, running{a, now + int64(d), v})
	}
	for n := range total {
		if n >= callers {
			c := heap.Pop(&flying).(running)
			now = c.at
			r.end(c.attempt, c.verdict, now)
		}
		begin()
	}
	for len(flying) > 0 {
		c := heap.Pop(&flying).(running)
		r.end(c.attempt, c.verdict, c.at)
	}
	return got
}

func constant(d time.Duration) func(*Instance) (time.Duration, breaker.Verdict) {
	return func(*Instance) (time.Duration, breaker.Verdict) { return d, breaker.Success }
}

// deviation returns how far the shares are from those of the weights, at most.
func deviation(got map[string]int, weights []int) float64 {
	sum, total, worst := 0, 0, 0.0
	for n, w := range weights {
		sum += w
		total += got[fmt.Sprintf("i%d", n)]
	}
	for n, w := range weights {
		want := float64(total) * float64(w) / float64(sum)
		worst = max(worst, math.Abs(float64(got[fmt.Sprintf("i%d", n)])-want)/want)
	}
	return worst
}

func weighted(c Choice, weights ...int) *rig {
	r := newRig(Config{Policy: Policy{Choice: c}})
	r.set(instances(len(weights), func(n int) int { return weights[n] }))
	return r
}

// TestWeights: each instance gets its share of 20,000 calls, however many callers there
// are.
func TestWeights(t *testing.T) {
	for _, test := range []struct {
		choice Choice
		within float64
	}{{LeastLoaded, 0.10}, {RoundRobin, 0.01}} {
		for _, weights := range [][]int{{1, 2, 4}, {1, 1, 1}} {
			for _, callers := range []int{1, 8, 64} {
				t.Run(fmt.Sprintf("%v/%v/%d callers", test.choice, weights, callers), func(t *testing.T) {
					r := weighted(test.choice, weights...)
					got := r.simulate(callers, 20000, constant(5*time.Millisecond))
					if d := deviation(got, weights); d > test.within {
						t.Errorf("got %v: %.1f %% off, want at most %.0f %%", got, 100*d, 100*test.within)
					}
				})
			}
		}
	}
}

// TestLightInstance: one that is light beside heavy ones is idle most of the time, and
// so looks better than it is while few calls are in flight: it may get twice its share,
// not more. In turn it gets exactly that.
func TestLightInstance(t *testing.T) {
	weights := []int{10, 10, 10, 1}
	for _, callers := range []int{1, 4, 8, 64} {
		if d := deviation(weighted(LeastLoaded, weights...).simulate(callers, 20000, constant(5*time.Millisecond)), weights); d > 1 {
			t.Errorf("least loaded, %d callers: %.0f %% off", callers, 100*d)
		}
		if d := deviation(weighted(RoundRobin, weights...).simulate(callers, 20000, constant(5*time.Millisecond)), weights); d > 0.01 {
			t.Errorf("round robin, %d callers: %.1f %% off", callers, 100*d)
		}
	}
}

// TestRoundRobinRotates: equal weights are taken strictly in turn.
func TestRoundRobinRotates(t *testing.T) {
	const n = 7
	r := weighted(RoundRobin, 3, 3, 3, 3, 3, 3, 3)
	var order []*Instance
	for k := range 10 * n {
		i, err := r.pick(&Attempt{}, r.fleet.now())
		if err != nil {
			t.Fatal(err)
		}
		if order = append(order, i); k >= n && order[k-n] != i {
			t.Fatalf("pick %d is %s, and %d before it was %s", k, i.id, n, order[k-n].id)
		}
	}
}

// TestRoundRobinIsSmooth: a heavy instance's turns are spread, not in a row.
func TestRoundRobinIsSmooth(t *testing.T) {
	r := weighted(RoundRobin, 1, 1, 2)
	run := 0
	for range 1000 {
		i, _ := r.pick(&Attempt{}, r.fleet.now())
		if run++; i.id != "i2" {
			run = 0
		}
		if run > 2 {
			t.Fatalf("i2 has half of the weight and got %d calls in a row", run)
		}
	}
}

// TestSlowInstance: one that is ten times slower gets a small part of the others'
// calls when all are busy. While the others have room it gets few, for its callers'
// sake, but never none.
func TestSlowInstance(t *testing.T) {
	for callers, atLeast := range map[int]int{8: 12, 64: 20000 / 31 / 8} { // 8: one a second
		r := weighted(LeastLoaded, 1, 1, 1, 1)
		serve := func(i *Instance) (time.Duration, breaker.Verdict) {
			if i.id == "i0" {
				return 50 * time.Millisecond, breaker.Success
			}
			return 5 * time.Millisecond, breaker.Success
		}
		got := r.simulate(callers, 20000, serve)
		if slow, fair := got["i0"], 20000/31; slow > 2*fair || slow < atLeast {
			t.Errorf("%d callers: the slow one got %d of 20,000, its share by speed is %d", callers, slow, fair)
		}
	}
}

// TestSlowInstanceRecovers: once as fast as the others, it has its share back within a
// minute.
func TestSlowInstanceRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := weighted(LeastLoaded, 1, 1, 1, 1)
		slow := 500 * time.Millisecond
		serve := func(i *Instance) (time.Duration, breaker.Verdict) {
			if i.id == "i0" {
				return slow, breaker.Success
			}
			return 5 * time.Millisecond, breaker.Success
		}
		if got := r.simulate(8, 2000, serve); got["i0"] == 0 {
			t.Fatal("the slow one was never tried")
		}
		slow = 5 * time.Millisecond
		time.Sleep(time.Minute)
		if est := r.member(t, "i0").latency.estimate(r.fleet.now(), r.fleet.median.get(), false); est > 30*ms {
			t.Errorf("a minute after, its estimate is %v", time.Duration(est))
		}
		if got := r.simulate(8, 20000, serve); got["i0"] < 4000 {
			t.Errorf("as fast as the others again, it gets %d of 20,000", got["i0"])
		}
	})
}

// TestFailingFast: an instance that fails at once does not look fast.
func TestFailingFast(t *testing.T) {
	r := weighted(LeastLoaded, 1, 1, 1, 1)
	got := r.simulate(16, 20000, func(i *Instance) (time.Duration, breaker.Verdict) {
		if i.id == "i0" {
			return 100 * time.Microsecond, breaker.Failure
		}
		return 5 * time.Millisecond, breaker.Success
	})
	if got["i0"] > 5000 {
		t.Errorf("got %v: the one that fails at once attracts calls", got)
	}
}

// TestTriedIsNotChosen: while another is eligible, no choice takes one that the call has
// been on.
func TestTriedIsNotChosen(t *testing.T) {
	for _, c := range []Choice{LeastLoaded, RoundRobin} {
		r := weighted(c, 1000, 1, 1)
		for range 100 {
			var prior *Attempt
			seen := map[*Instance]bool{}
			for range 3 {
				a := &Attempt{Prior: prior}
				i, err := r.pick(a, r.fleet.now())
				if err != nil || seen[i] {
					t.Fatalf("%v: %v picked twice, or %v", c, i, err)
				}
				seen[i], prior = true, a
			}
			if i, err := r.pick(&Attempt{Prior: prior}, r.fleet.now()); err != nil || !seen[i] {
				t.Fatalf("%v: with all tried, picked %v, %v", c, i, err)
			}
		}
	}
}
