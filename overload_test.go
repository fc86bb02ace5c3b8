package surecall_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// overloadable is a service that works on calls whose callers have left, as most do: 4
// instances with 5 workers each, who take 100 ms for a call. That makes 200 calls a second.
func overloadable(t *testing.T) *surecalltest.Cluster {
	cluster := surecalltest.NewCluster(t, 4)
	for _, i := range cluster.Instances() {
		i.Capacity(surecalltest.Capacity{Workers: 5, ServiceTime: serviceTime})
	}
	return cluster
}

const (
	capacity    = 200 // calls per second
	serviceTime = 100 * time.Millisecond
	patience    = 10 * serviceTime // of the callers
)

// offer calls Get at a multiple of the capacity for d, whether or not earlier calls have
// ended, by callers that leave after their patience. The n-th call's context is by(n).
func offer(t *testing.T, cc grpc.ClientConnInterface, multiple float64, d time.Duration, by func(ctx context.Context, n int) context.Context) []result {
	t.Helper()
	every := time.Duration(float64(time.Second) / (capacity * multiple))
	results := make([]result, d/every)
	var calls sync.WaitGroup
	for n := range results {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(by(t.Context(), n), patience)
			defer cancel()
			began := time.Now()
			_, err := unary(ctx, cc, getMethod)
			results[n] = result{began, time.Since(began), err}
		})
		advance(every)
	}
	calls.Wait()
	return results
}

func anyone(ctx context.Context, _ int) context.Context { return ctx }

// goodput is the share of the capacity whose answers reached someone, for the results of
// an offer of that length.
func goodput(results []result, d time.Duration) float64 {
	return float64(len(results)-failures(results)) / (capacity * d.Seconds())
}

// At three times what the service can do, nearly all it can do goes to callers that are
// there to get the answer, and callers that get none are told at once. Without limits it
// works on nothing but calls that nobody waits for. When the load falls, all is well.
func TestOverloadSettles(t *testing.T) {
	adaptive := limit.Adaptive{On: true}
	bare := []surecall.Option{surecall.WithoutConcurrencyLimit(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker()}
	for _, test := range []struct {
		name    string
		opts    []surecall.Option
		settles bool
	}{
		{"adaptive limit", []surecall.Option{surecall.WithConcurrency(limit.Concurrency{Adaptive: adaptive})}, true},
		{"adaptive limit and nothing else", append(bare, surecall.WithConcurrency(limit.Concurrency{Adaptive: adaptive})), true},
		{"adaptive limit and queue", []surecall.Option{
			surecall.WithConcurrency(limit.Concurrency{Adaptive: adaptive, Queue: limit.Queue{MaxWaiting: 100}}),
		}, true},
		{"adaptive limit of each instance", []surecall.Option{surecall.WithInstanceConcurrency(limit.Concurrency{Adaptive: adaptive})}, true},
		{"fixed limit of each instance", []surecall.Option{surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 10})}, true},
		{"no limit", nil, false},
		{"nothing at all", bare, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const overload, calm = 5 * time.Second, 3 * time.Second
				client := ready(t, overloadable(t), test.opts...)
				offer(t, client, 0.5, time.Second, anyone)
				offer(t, client, 3, time.Second, anyone) // to settle
				results := offer(t, client, 3, overload, anyone)
				good := goodput(results, overload)
				began := time.Now()
				_, back := backAfter(offer(t, client, 0.5, calm, anyone), began)
				t.Logf("goodput %.0f %% of the capacity, p50 %v, p99 %v; no failure from %v on after it",
					100*good, percentile(results, 0.5), percentile(results, 0.99), back)
				switch {
				case !test.settles && good > 0.3:
					t.Errorf("goodput %.0f %% of the capacity: want a collapse, to show what limits are for", 100*good)
				case test.settles && (good < 0.9 || percentile(results, 0.99) > patience*4/5):
					t.Errorf("goodput %.0f %% of the capacity, and of calls 1 %% take %v or more: want at least 90 %%, and nobody waiting for nothing",
						100*good, percentile(results, 0.99))
				}
				if test.settles && back > time.Second {
					t.Errorf("at half of the capacity calls fail for %v still: want none after a second", back)
				}
			})
		})
	}
}

// At one and a half times the capacity it is sheddable calls that are shed. Where calls
// can wait for two service times, all critical ones get through: when an adaptive limit
// dips, nobody gets a slot for nearly one. Without a queue they lose a few to normal ones,
// which may fill nearly all of a limit, and to the dips.
func TestSheddableGoesFirst(t *testing.T) {
	mix := func(n int) limit.Priority { // one in five is critical, two are sheddable
		return []limit.Priority{1, 0, 0, -1, -1}[rand.New(rand.NewPCG(1, uint64(n))).IntN(5)]
	}
	adaptive := limit.Adaptive{On: true}
	// By default a queue is for calls of a few ms.
	patient := limit.Queue{MaxWaiting: 100, Interval: 2 * serviceTime, Target: 2 * serviceTime}
	for _, test := range []struct {
		name   string
		option surecall.Option
		most   float64 // of the critical calls fail
	}{
		{"fixed limit and queue", surecall.WithConcurrency(limit.Concurrency{Limit: 25, Queue: patient}), 0},
		{"adaptive limit and queue", surecall.WithConcurrency(limit.Concurrency{Adaptive: adaptive, Queue: patient}), 0},
		{"fixed limit", surecall.WithConcurrency(limit.Concurrency{Limit: 25}), 0.03},
		{"adaptive limit", surecall.WithConcurrency(limit.Concurrency{Adaptive: adaptive}), 0.03},
		{"fixed limit of each instance", surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 10}), 0.08},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client := ready(t, overloadable(t), test.option)
				mixed := func(ctx context.Context, n int) context.Context {
					return surecall.WithPriority(ctx, mix(n))
				}
				offer(t, client, 0.5, time.Second, mixed)
				offer(t, client, 1.5, time.Second, mixed)
				failed, of := map[limit.Priority]float64{}, map[limit.Priority]float64{}
				for n, r := range offer(t, client, 1.5, 10*time.Second, mixed) {
					of[mix(n)]++
					if r.err != nil {
						failed[mix(n)]++
					}
				}
				t.Logf("failed: %v of %v", failed, of)
				if got := failed[limit.Critical] / of[limit.Critical]; got > test.most {
					t.Errorf("%.1f %% of the critical calls failed: want at most %.0f", 100*got, 100*test.most)
				}
				if normal, sheddable := failed[limit.Normal]/of[limit.Normal], failed[limit.Sheddable]/of[limit.Sheddable]; normal > 0.1 || sheddable < 0.7 {
					t.Errorf("%.0f %% of the normal calls failed and %.0f %% of the sheddable: want few, and most", 100*normal, 100*sheddable)
				}
			})
		})
	}
}

// A service that sheds what it has no room for spends little on that, but not nothing:
// with a throttle, most of what it would shed is not even sent.
func TestThrottleSparesTheService(t *testing.T) {
	for _, throttled := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			cluster := overloadable(t)
			for _, i := range cluster.Instances() {
				i.Capacity(surecalltest.Capacity{Workers: 5, ServiceTime: serviceTime, Bound: 10})
			}
			var opts []surecall.Option
			if throttled {
				opts = append(opts, surecall.WithThrottle(limit.Throttle{}))
			}
			client := ready(t, cluster, opts...)
			offer(t, client, 4, 2*time.Second, anyone)
			before := cluster.Calls()
			const overload = 3 * time.Second
			good := goodput(offer(t, client, 4, overload, anyone), overload)
			sent := float64(cluster.Calls()-before) / (capacity * overload.Seconds())
			t.Logf("throttled %v: goodput %.0f %% of the capacity, %.1f times the capacity was sent", throttled, 100*good, sent)
			if good < 0.9 {
				t.Errorf("throttled %v: goodput %.0f %% of the capacity: want at least 90 %%", throttled, 100*good)
			}
			if most := 2.2; (sent <= most) != throttled { // K is 2
				t.Errorf("throttled %v: %.1f times the capacity was sent: want at most %v times: %v", throttled, sent, most, throttled)
			}
		})
	}
}
