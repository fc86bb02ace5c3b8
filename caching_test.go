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

// What all fails for is all callers'; each gets it at once.
func TestCacheSharesFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cached(t, cluster, freshHour, surecall.WithoutRetry())
		failAll(cluster, codes.Internal)
		for _, i := range cluster.Instances() {
			i.Delay(time.Second)
		}
		var results []<-chan answered
		for range 64 {
			results = append(results, ask(t.Context(), client))
		}
		for _, r := range results {
			if a := <-r; status.Code(a.err) != codes.Internal || a.took != time.Second {
				t.Errorf("%v after %v: want INTERNAL after 1 s", a.err, a.took)
			}
		}
		if n := sum(reached(cluster)); n != 1 {
			t.Errorf("%d calls: want one", n)
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
