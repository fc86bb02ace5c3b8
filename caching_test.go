package surecall_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// answered is how one of many calls ended.
type answered struct {
	order *orders.Order
	err   error
	took  time.Duration
}

// ask makes a call, which is under way when ask returns.
func ask(ctx context.Context, cc grpc.ClientConnInterface, opts ...grpc.CallOption) <-chan answered {
	result := make(chan answered, 1)
	go func() {
		began := time.Now()
		order, err := unary(ctx, cc, getMethod, opts...)
		result <- answered{order, err, time.Since(began)}
	}()
	synctest.Wait()
	return result
}

var freshHour = surecall.CachePolicy{Fresh: time.Hour}

// Of many callers that want the same, one asks. Each has a reply of its own.
func TestCacheAsksOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Second})
		for round := 1; round <= 3; round++ {
			release := holdAll(cluster)
			var all sync.WaitGroup
			for n := range 64 {
				all.Go(func() {
					order, err := unary(t.Context(), client, getMethod)
					if err != nil || order.GetId() != "1" {
						t.Errorf("%v, %v", order, err)
						return
					}
					order.Id = strings.Repeat("x", n)
				})
			}
			synctest.Wait()
			release()
			if all.Wait(); sum(reached(cluster)) != round {
				t.Errorf("round %d: %d calls: want one in each", round, sum(reached(cluster)))
			}
			advance(time.Second + 1) // what was fresh is over
		}
	})
}

// What all fails for is all callers'; each gets it at once, and knows that it waited.
func TestCacheSharesFailure(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.ResourceExhausted} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 3)
			client := cached(t, cluster, freshHour, surecall.WithoutRetry())
			failAll(cluster, code)
			for _, i := range cluster.Instances() {
				i.Delay(time.Second)
			}
			results := []<-chan answered{ask(t.Context(), client)}
			traces := make([]surecall.CallTrace, 63)
			for n := range traces {
				results = append(results, ask(t.Context(), client, surecall.Trace(&traces[n])))
			}
			for _, r := range results {
				if a := <-r; status.Code(a.err) != code || a.took != time.Second {
					t.Errorf("%v after %v: want %v after 1 s", a.err, a.took, code)
				}
			}
			if n := sum(reached(cluster)); n != 1 {
				t.Errorf("%d calls: want one", n)
			}
			if trace := traces[0]; trace.Waited != time.Second || len(trace.Attempts) != 0 {
				t.Errorf("trace %+v: want a wait of 1 s, and no attempt", trace)
			}
		})
	}
}

// What follows a failure is shared as the failure is: one asks the alternate for all.
func TestCacheSharesAlternate(t *testing.T) {
	for name, test := range map[string]struct{ there, want codes.Code }{
		"it answers":                  {codes.OK, codes.OK},
		"it answers that there is no": {codes.NotFound, codes.NotFound},
		"it fails, too":               {codes.DataLoss, codes.Internal},
		"it is down, too":             {codes.Unavailable, codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, there, events, eventsThere := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1), &log{}, &log{}
				client := cached(t, cluster, freshHour, events.option(), surecall.WithoutRetry(),
					surecall.WithAlternate(ready(t, there, eventsThere.option(), surecall.WithoutRetry())))
				failAll(cluster, codes.Internal)
				failAll(there, test.there)
				cluster.Instance(0).Delay(time.Second)
				there.Instance(0).Delay(time.Second)
				if test.there == codes.Unavailable {
					there.Instance(0).Kill()
					synctest.Wait()
				}
				var results []<-chan answered
				for range 64 {
					results = append(results, ask(t.Context(), client))
				}
				for _, r := range results {
					if a := <-r; status.Code(a.err) != test.want {
						t.Errorf("%v: want %v", a.err, test.want)
					}
				}
				here, moved := sum(reached(cluster)), sum(reached(there))+len(eventsOf[event.CallRejected](eventsThere))
				if here != 1 || moved != 1 {
					t.Errorf("%d calls here and %d there: want one of each", here, moved)
				}
				told := eventsOf[event.CallServedSecondBest](events)
				if want := map[bool]int{true: 64}[test.want == test.there]; len(told) != want {
					t.Errorf("%d calls were served second best: want %d", len(told), want)
				}
				for _, e := range told {
					if e.By != event.Alternate || status.Code(e.Cause) != codes.Internal {
						t.Errorf("told %+v: want the alternate, and what the instances said", e)
					}
				}
				if test.there == codes.OK {
					if get(t, client); sum(reached(cluster)) != 1 {
						t.Error("the alternate's answer was not kept")
					}
				}
			})
		})
	}
}

// That the alternate took longer than one caller had is nothing to those who have more.
func TestCacheAlternateDeadlineIsNotShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour, surecall.WithoutRetry(), surecall.WithAlternate(ready(t, there, surecall.WithoutRetry())))
		failAll(cluster, codes.Internal)
		there.Instance(0).Delay(time.Second)
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		first := ask(short, client)
		second, third := ask(t.Context(), client), ask(t.Context(), client)
		if a := <-first; status.Code(a.err) != codes.Internal || a.took != 100*time.Millisecond {
			t.Errorf("first: %v after %v: want what the instances said", a.err, a.took)
		}
		for _, r := range []<-chan answered{second, third} {
			if a := <-r; a.err != nil {
				t.Errorf("%v: want the alternate's answer", a.err)
			}
		}
		if here, moved := sum(reached(cluster)), sum(reached(there)); here != 1 || moved != 2 {
			t.Errorf("%d calls here and %d there: want 1, and another there for those who had time", here, moved)
		}
	})
}

// Who waits keeps its reserve, and those whose time is up together ask the alternate once.
func TestCacheWaitsLessItsReserve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour, surecall.WithAlternate(ready(t, there)), surecall.WithFallbackReserve(500*time.Millisecond))
		defer holdAll(cluster)()
		there.Instance(0).Delay(time.Millisecond)
		long, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		first := ask(long, client)
		short, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		var results []<-chan answered
		for range 10 {
			results = append(results, ask(short, client))
		}
		for _, r := range results {
			if a := <-r; a.err != nil || a.took != 1501*time.Millisecond {
				t.Errorf("%v after %v: want the alternate's answer after 1.5 s", a.err, a.took)
			}
		}
		if n := sum(reached(there)); n != 1 {
			t.Errorf("the alternate was asked %d times: want once", n)
		}
		cancel()
		<-first
	})
}

// What another call may have had executed, those that waited for it may have, too.
func TestCacheSharesWhetherExecuted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour, surecall.WithoutRetry(), surecall.WithAlternate(ready(t, there)),
			surecall.WithFallbackReserve(100*time.Millisecond))
		failAll(cluster, codes.Unavailable)
		cluster.Instance(0).Delay(time.Second)
		first := ask(belowRetry(t.Context()), client)
		second := ask(belowRetry(t.Context()), client)
		hasty, cancel := context.WithTimeout(belowRetry(t.Context()), 500*time.Millisecond)
		defer cancel()
		third := ask(hasty, client)
		for _, r := range []<-chan answered{first, second, third} {
			if a := <-r; a.err == nil {
				t.Errorf("%v: want the chain of repeats stopped", a.order)
			}
		}
		if n := sum(reached(there)); n != 0 {
			t.Errorf("the alternate was asked %d times: want the chain of repeats stopped", n)
		}
	})
}

// Who has waited for another's call and then asks itself still has the call deadline that
// began when it did, and its trace says how long it waited.
func TestCacheWaitIsPartOfTheCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour, surecall.WithoutRetry())
		defer holdAll(cluster)()
		leader, cancel := context.WithCancel(t.Context())
		first := ask(leader, client)
		var trace surecall.CallTrace
		second := ask(t.Context(), client, surecall.Trace(&trace))
		advance(time.Second)
		cancel()
		<-first
		a := <-second
		if a.took != surecall.DefaultCallDeadline || !strings.Contains(a.err.Error(), "the call deadline of 5s, set by surecall") {
			t.Errorf("%v after %v: want the call deadline", a.err, a.took)
		}
		if trace.Waited != time.Second || len(trace.Attempts) != 1 || trace.Attempts[0].Began != time.Second {
			t.Errorf("trace %+v: want a wait of 1 s, and an attempt that began after it", trace)
		}
	})
}

// Whoever leaves leaves alone.
func TestCacheWaitsOnItsOwnTerms(t *testing.T) {
	const ms = time.Millisecond
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cached(t, cluster, freshHour, surecall.WithoutRetry())
		release := holdAll(cluster)
		defer release()
		// The leader is cancelled after 100 ms, the one who asks next has until 200 ms.
		leader, cancel := context.WithCancel(t.Context())
		first := ask(leader, client)
		short, stop := context.WithTimeout(t.Context(), 200*ms)
		defer stop()
		second := ask(short, client)
		third := ask(t.Context(), client)
		if n := sum(reached(cluster)); n != 1 {
			t.Fatalf("%d calls: want one", n)
		}
		advance(100 * ms)
		cancel()
		if a := <-first; status.Code(a.err) != codes.Canceled || a.took != 100*ms {
			t.Errorf("first: %v after %v", a.err, a.took)
		}
		synctest.Wait()
		if n := sum(reached(cluster)); n != 2 {
			t.Errorf("%d calls: want one of the two that wait to ask", n)
		}
		if a := <-second; status.Code(a.err) != codes.DeadlineExceeded || a.took != 200*ms {
			t.Errorf("second: %v after %v", a.err, a.took)
		}
		advance(100 * ms)
		release()
		if a := <-third; a.err != nil || a.took != 300*ms {
			t.Errorf("third: %v after %v", a.err, a.took)
		}
	})
}

// A call that ran out of its own time says nothing to those who have more.
func TestCacheDeadlineIsNotShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cached(t, cluster, freshHour)
		for _, i := range cluster.Instances() {
			i.Delay(time.Second)
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		first := ask(short, client)
		second := ask(t.Context(), client)
		if a := <-first; status.Code(a.err) != codes.DeadlineExceeded {
			t.Errorf("first: %v", a.err)
		}
		if a := <-second; a.err != nil || a.took > 2*time.Second {
			t.Errorf("second: %v after %v: want an answer", a.err, a.took)
		}
	})
}

// A caller without a deadline waits for another's call no longer than for one of its own.
func TestCacheWaitIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour)
		defer holdAll(cluster)()
		patient, cancel := context.WithTimeout(t.Context(), time.Hour)
		first := ask(patient, client)
		if a := <-ask(t.Context(), client); status.Code(a.err) != codes.DeadlineExceeded || a.took != surecall.DefaultCallDeadline ||
			!strings.Contains(a.err.Error(), "another call had asked") {
			t.Errorf("%v after %v: want the call deadline", a.err, a.took)
		}
		cancel()
		<-first
	})
}

// A call waits only with those that would go about it in the same way.
func TestCacheWaitsWithItsEquals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour)
		cluster.Instance(0).Kill()
		synctest.Wait()
		patient := ask(t.Context(), client, grpc.WaitForReady(true))
		if a := <-ask(t.Context(), client); status.Code(a.err) != codes.Unavailable || a.took != 0 {
			t.Errorf("%v after %v: want it rejected at once", a.err, a.took)
		}
		cluster.Instance(0).Start()
		if a := <-patient; a.err != nil {
			t.Errorf("the one that waits for ready: %v", a.err)
		}
	})
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour)
		release := holdAll(cluster)
		sheddable := ask(surecall.WithPriority(t.Context(), limit.Sheddable), client)
		critical := ask(surecall.WithPriority(t.Context(), limit.Critical), client)
		if n := sum(reached(cluster)); n != 2 {
			t.Errorf("%d calls: want the critical one not to wait with the sheddable", n)
		}
		release()
		<-sheddable
		<-critical
	})
}

// Callers, updates and outages at once: every call is answered, by an answer to its own
// request.
func TestCacheConcurrently(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cached(t, cluster, surecall.CachePolicy{Fresh: 10 * time.Millisecond}, surecall.WithCacheBytes(8000), surecall.WithFallback(madeUp))
		var all sync.WaitGroup
		for n := range 64 {
			all.Go(func() {
				stub := orders.NewOrdersClient(client)
				for k := range 50 {
					id := string(rune('a' + (n+k)%8))
					order, err := stub.Get(t.Context(), &orders.GetRequest{Id: id})
					if err != nil || order.GetId() != id {
						t.Errorf("%v, %v: want one of %q", order, err, id)
					}
					advance(time.Millisecond)
				}
			})
		}
		for n := range 10 {
			failAll(cluster, []codes.Code{codes.OK, codes.Unavailable}[n%2])
			err := client.Update(surecall.WithCacheBytes(8000+n), surecall.ForMethod(getMethod, []surecall.MethodOption{
				surecall.WithCache(surecall.CachePolicy{Fresh: 10 * time.Millisecond}), surecall.WithoutCache()}[n/2%2]))
			if err != nil {
				t.Error(err)
			}
			advance(5 * time.Millisecond)
		}
		all.Wait()
	})
}
