package surecall_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// slowReplies has every instance take 8 to 12 ms for a call, and for one in fifty as much
// more as slow says. Which one does not depend on which method is called.
func slowReplies(c *surecalltest.Cluster, slow time.Duration) {
	for n, i := range c.Instances() {
		i.DelayFunc(func(_ string, call int64) time.Duration {
			chance := rand.New(rand.NewPCG(uint64(n), uint64(call)))
			took := 8*time.Millisecond + time.Duration(chance.IntN(4000))*time.Microsecond
			if chance.IntN(50) == 0 {
				took += slow
			}
			return took
		})
	}
}

// percentile returns how long the fastest share of the calls took at most.
func percentile(results []result, share float64) time.Duration {
	var took []time.Duration
	for _, r := range results {
		took = append(took, r.took)
	}
	slices.Sort(took)
	return took[int(share*float64(len(took)-1))]
}

// One reply in fifty is slow, and nobody knows which. A hedge brings the p99 down to
// nearly what the fast ones take, for few calls more than were asked for. What must not be
// executed twice is left alone.
func TestHedgeCutsTheTail(t *testing.T) {
	for _, test := range []struct {
		name   string
		method string
		opts   []surecall.Option
		cut    bool
	}{
		{"hedged", getMethod, []surecall.Option{surecall.WithHedge(retry.Hedge{})}, true},
		{"not hedged", getMethod, nil, false},
		{"hedged, but it must not be repeated", placeMethod, []surecall.Option{surecall.WithHedge(retry.Hedge{})}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 5)
				client := ready(t, cluster, test.opts...)
				slowReplies(cluster, 80*time.Millisecond) // below every attempt timeout
				load(t, client, test.method, 5*time.Millisecond, time.Second)
				before := cluster.Calls()
				results := load(t, client, test.method, 5*time.Millisecond, 5*time.Second)
				wantAll(t, results, time.Second)
				p50, p95, p99 := percentile(results, 0.5), percentile(results, 0.95), percentile(results, 0.99)
				extra := float64(cluster.Calls()-before)/float64(len(results)) - 1
				t.Logf("p50 %v, p95 %v, p99 %v, %.1f %% extra calls", p50, p95, p99, 100*extra)
				if cut := p99 <= p95+2*p50; cut != test.cut {
					t.Errorf("p99 %v at a p50 of %v and a p95 of %v: want at most p95 + 2 × p50: %v", p99, p50, p95, test.cut)
				}
				if extra > 0.06 || (extra > 0) != test.cut {
					t.Errorf("%.1f %% extra calls: want some, up to 6 %%: %v", 100*extra, test.cut)
				}
			})
		})
	}
}

// Who loses against a hedge has done nothing wrong: no breaker counts it, nobody is
// ejected or yields, and a slow reply now and then costs no share of the calls.
func TestHedgeBlamesNoLoser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 4), &log{}
		client := ready(t, cluster, events.option(), surecall.WithHedge(retry.Hedge{Delay: 15 * time.Millisecond}))
		slowReplies(cluster, 45*time.Millisecond) // below the patience of 50 ms: nobody is suspected
		changes := len(eventsOf[event.InstanceChanged](events))
		results := load(t, client, getMethod, 5*time.Millisecond, 10*time.Second)
		wantAll(t, results, 120*time.Millisecond)
		if n := len(eventsOf[event.AttemptHedged](events)); n < len(results)/100 {
			t.Fatalf("%d hedges of %d calls: want one of each slow reply", n, len(results))
		}
		for _, i := range client.Instances() {
			if i.State != event.Eligible || i.Breaker.Failures+i.Breaker.Ejections > 0 || i.InFlight > 0 || i.Share != 1 {
				t.Errorf("%s: %v, %d in flight, share %v, breaker %+v: want it eligible, idle and without a failure", i.ID, i.State, i.InFlight, i.Share, i.Breaker)
			}
		}
		if calls := reached(cluster); slices.Max(calls) > slices.Min(calls)*3/2 {
			t.Errorf("calls per instance %v: want about as many each", calls)
		}
		for _, c := range eventsOf[event.InstanceChanged](events)[changes:] {
			// Slow replies one upon another can make a suspect for a moment, hedged or not.
			if c.To != event.Suspect && c.From != event.Suspect {
				t.Errorf("%+v: want no change", c)
			}
		}
		if retried := eventsOf[event.AttemptRetried](events); len(retried) > 0 {
			t.Errorf("retries %+v: want none", retried)
		}
	})
}

// The caller's request, reply and what options point to are the caller's again the moment
// the call returns, and each reply is that of its own request. It needs real time, so that
// hedges and answers meet as chance has it, and means most under the race detector.
func TestHedgeRacesNobody(t *testing.T) {
	const callers, each = 64, 40
	cluster, events := surecalltest.NewCluster(t, 3), &log{}
	for n, i := range cluster.Instances() {
		i.DelayFunc(func(_ string, call int64) time.Duration {
			return time.Duration(rand.New(rand.NewPCG(uint64(n), uint64(call))).IntN(4000)) * time.Microsecond
		})
	}
	client := cluster.Client(events.option(),
		surecall.WithHedge(retry.Hedge{Delay: time.Millisecond}), surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 10}))
	var finished atomic.Int64
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			var (
				req             orders.GetRequest
				reply           orders.Order
				header, trailer metadata.MD
				from            peer.Peer
				trace           surecall.CallTrace
			)
			for n := range each {
				req.Id = fmt.Sprint(caller, "/", n)
				err := client.Invoke(t.Context(), getMethod, &req, &reply, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from),
					surecall.Trace(&trace), grpc.OnFinish(func(error) { finished.Add(1) }))
				if err != nil || reply.GetId() != req.GetId() {
					t.Errorf("request %q: reply %q, error %v", req.GetId(), reply.GetId(), err)
				}
				req.Id, reply.Id = "changed", "changed"
				header, trailer, from, trace = nil, nil, peer.Peer{}, surecall.CallTrace{}
			}
		})
	}
	all.Wait()
	if n := finished.Load(); n != callers*each {
		t.Errorf("%d calls finished: want each of %d once", n, callers*each)
	}
	if n := len(eventsOf[event.AttemptHedged](events)); n < callers*each/20 {
		t.Errorf("%d hedges: want many, to show anything", n)
	}
}
