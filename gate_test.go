package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// let makes n calls and returns how many were not rejected.
func let(ctx context.Context, client *surecall.Client, method string, n int) (passed int) {
	for range n {
		var r *surecall.Rejection
		if _, err := unary(ctx, client, method); !errors.As(err, &r) {
			passed++
		}
	}
	return passed
}

// While a service refuses a method's calls, most of them are not sent any more, sheddable
// ones first; its other methods are not held back, and once it recovers nothing is.
func TestThrottle(t *testing.T) {
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Unavailable} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster, surecall.WithoutRetry(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
					surecall.WithThrottle(limit.Throttle{}))
				for _, i := range cluster.Instances() {
					i.FailFunc(func(method string, _ int64) error {
						if method == placeMethod {
							return status.Error(code, "told to fail")
						}
						return nil
					})
				}
				storm := func(ctx context.Context, method string) int {
					passed := 0
					for range 400 {
						passed += let(ctx, client, method, 1)
						advance(10 * time.Millisecond)
					}
					return passed
				}
				storm(t.Context(), placeMethod)
				if n := storm(t.Context(), placeMethod); n < 20 || n > 80 {
					t.Errorf("%d of 400 calls passed: want about a tenth", n)
				}
				_, err := error(nil), error(nil)
				for err == nil || !errors.Is(err, surecall.ErrThrottled) {
					_, err = unary(t.Context(), client, placeMethod)
				}
				wantRejection(t, err, surecall.ErrThrottled, codes.ResourceExhausted, `surecall: throttled of "orders", /orders.v1.Orders/Place`)
				if !errors.Is(err, limit.ErrThrottled) {
					t.Errorf("error %#v: want limit.ErrThrottled", err)
				}
				if n := let(t.Context(), client, getMethod, 100); n != 100 {
					t.Errorf("%d of 100 calls of another method passed: want all", n)
				}
				failAll(cluster, codes.OK)
				storm(t.Context(), placeMethod)
				storm(t.Context(), placeMethod)
				if n := storm(t.Context(), placeMethod); n != 400 {
					t.Errorf("%d of 400 calls passed after the recovery: want all", n)
				}
				for _, i := range cluster.Instances() {
					i.FailSome(0.4, code)
				}
				storm(t.Context(), placeMethod)
				normal, sheddable := 0, 0
				const storms = 10 // who is held back is drawn by lot: of 400 calls, 360 ± 6
				for range storms {
					normal += storm(t.Context(), placeMethod)
				}
				for range storms {
					sheddable += storm(surecall.WithPriority(t.Context(), limit.Sheddable), placeMethod)
				}
				if normal < 385*storms || sheddable > 375*storms {
					t.Errorf("with 40 %% refused, of %d calls passed %d normal and %d sheddable ones: want only the latter held back", 400*storms, normal, sheddable)
				}
			})
		})
	}
}

// Errors that are a server's answer, the caller's own cancellations and our rejections hold
// nothing back.
func TestThrottleIgnores(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithThrottle(limit.Throttle{}))
		failAll(cluster, codes.NotFound)
		if n := let(t.Context(), client, placeMethod, 500); n != 500 {
			t.Errorf("%d of 500 passed after NOT_FOUND", n)
		}
		hangAll(cluster)
		for range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			_, err := unary(ctx, client, placeMethod)
			if status.Code(err) != codes.Canceled {
				t.Fatal(err)
			}
		}
	})
}

// A method whose calls fail wherever they go is rejected at once for a while; other methods
// are not, nobody is ejected, and trials find out when it is over.
func TestMethodBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), surecall.WithMethodBreaker(breaker.MethodPolicy{Jitter: 1e-9}))
		for _, i := range cluster.Instances() {
			i.FailFunc(func(method string, _ int64) error {
				if method == placeMethod {
					return status.Error(codes.Internal, "told to fail")
				}
				return nil
			})
		}
		both := func(n int) (places int) {
			for range n {
				get(t, client)
				places += let(t.Context(), client, placeMethod, 1)
				advance(10 * time.Millisecond)
			}
			return places
		}
		if n := both(100); n != 20 {
			t.Errorf("%d of 100 calls passed: want the 20 that it takes", n)
		}
		before := cluster.Calls()
		_, err := unary(t.Context(), client, placeMethod)
		r := wantRejection(t, err, surecall.ErrMethodDown, codes.Unavailable,
			`surecall: method /orders.v1.Orders/Place of "orders" is down: too many calls of it fail`)
		if r.RetryAfter < 3*time.Second || r.RetryAfter > 5*time.Second || cluster.Calls() != before {
			t.Errorf("retry after %v, %d calls sent: want what is left of 5 s, and none", r.RetryAfter, cluster.Calls()-before)
		}
		_, err = orders.NewOrdersClient(client).Import(t.Context())
		if err != nil {
			t.Errorf("another method: %v", err)
		}
		advance(r.RetryAfter)
		if n := let(t.Context(), client, placeMethod, 5); n != 1 {
			t.Errorf("%d passed once the opening was over: want one trial", n)
		}
		failAll(cluster, codes.OK)
		advance(11 * time.Second) // the second opening takes twice as long
		if n := let(t.Context(), client, placeMethod, 10); n != 10 {
			t.Errorf("%d of 10 passed after the recovery: want all", n)
		}
		if ids := ejections(events); len(ids) > 0 {
			t.Errorf("ejected %v: want nobody blamed", ids)
		}
		var changes []string
		for _, c := range eventsOf[event.MethodBreakerChanged](events) {
			changes = append(changes, fmt.Sprintf("%s %s→%s", c.Method[len("/orders.v1.Orders/"):], c.From, c.To))
		}
		const want = "[Place closed→open Place open→half-open Place half-open→open Place open→half-open Place half-open→closed]"
		if got := fmt.Sprint(changes); got != want {
			t.Errorf("events %v: want %v", got, want)
		}
	})
}

// Calls that are slow open the breaker if the policy says so; what a call waits for a limit
// of ours is not counted for that.
func TestMethodBreakerSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithMethodBreaker(breaker.MethodPolicy{SlowCall: 100 * time.Millisecond}),
			surecall.ForMethod(cancelMethod, surecall.WithRateLimit(limit.Rate{PerSecond: 5, Burst: 1, Wait: true})))
		if n := let(t.Context(), client, cancelMethod, 50); n != 50 {
			t.Errorf("%d of 50 calls passed that wait for a rate: want all", n)
		}
		for _, i := range cluster.Instances() {
			i.Delay(100 * time.Millisecond)
		}
		if n := let(t.Context(), client, placeMethod, 30); n != 20 {
			t.Errorf("%d of 30 slow calls passed: want 20", n)
		}
	})
}

// In a dry run the breaker tells what it would do, and lets all calls pass.
func TestMethodBreakerDryRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), surecall.WithMethodBreaker(breaker.MethodPolicy{DryRun: true}))
		failAll(cluster, codes.Internal)
		if n := let(t.Context(), client, placeMethod, 100); n != 100 {
			t.Errorf("%d of 100 passed: want all", n)
		}
		changes := eventsOf[event.MethodBreakerChanged](events)
		if len(changes) == 0 || !changes[0].DryRun || changes[0].To != "open" || changes[0].Why == "" {
			t.Errorf("events %+v: want them to tell that it would have opened", changes)
		}
	})
}

// An Update that leaves the breaker's policy as it is leaves it open; one that changes it
// begins anew, and one that takes it away lets all pass.
func TestUpdateOfMethodBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithMethodBreaker(breaker.MethodPolicy{}))
		failAll(cluster, codes.Internal)
		if n := let(t.Context(), client, placeMethod, 50); n != 20 {
			t.Fatalf("%d passed: want 20", n)
		}
		for _, test := range []struct {
			option surecall.LiveOption
			passed int
		}{
			{surecall.WithMethodBreaker(breaker.MethodPolicy{}), 0},
			{surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 7}), 7},
			{surecall.WithoutMethodBreaker(), 50},
		} {
			if err := client.Update(test.option); err != nil {
				t.Fatal(err)
			}
			if n := let(t.Context(), client, placeMethod, 50); n != test.passed {
				t.Errorf("%d of 50 passed: want %d", n, test.passed)
			}
		}
	})
}

// While the service is down, a method's breaker opens too. The service's trial passes it:
// when the service is back, so is the method, at once.
func TestServiceTrialPassesMethodBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.ForMethod(getMethod, surecall.WithMethodBreaker(breaker.MethodPolicy{Open: time.Minute})))
		for _, i := range cluster.Instances() {
			i.Fail(codes.Unavailable)
		}
		load(t, client, getMethod, 5*time.Millisecond, time.Second)   // opens the method's
		load(t, client, placeMethod, 5*time.Millisecond, time.Second) // opens the service's
		for _, i := range cluster.Instances() {
			i.Fail(codes.OK)
		}
		results := load(t, client, getMethod, 5*time.Millisecond, time.Second)
		if n := failures(results); n > 60 {
			t.Errorf("%d of %d calls failed in the second after the outage: want those of 300 ms at most", n, len(results))
		}
	})
}

// What a call waited for the end of an outage is not what its attempt took, nor what its
// method takes.
func TestWaitForServiceIsNotTheAttempts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithMethodBreaker(breaker.MethodPolicy{SlowCall: time.Second}))
		for range 30 {
			get(t, client)
		}
		for _, i := range cluster.Instances() {
			i.Delay(20 * time.Millisecond)
		}
		if err := client.SetServiceMode(breaker.ForcedOpen); err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		traces := make([]surecall.CallTrace, 30)
		for n := range traces {
			calls.Go(func() {
				if _, err := unary(t.Context(), client, getMethod, grpc.WaitForReady(true), surecall.Trace(&traces[n])); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(3 * time.Second)
		if err := client.SetServiceMode(breaker.Automatic); err != nil {
			t.Fatal(err)
		}
		calls.Wait()
		if c := traces[0]; c.Waited != 3*time.Second || c.Attempts[0].Took != 20*time.Millisecond {
			t.Errorf("waited %v, attempts %+v: want 3 s, and 20 ms for the one", c.Waited, c.Attempts)
		}
		if _, err := unary(t.Context(), client, getMethod); err != nil {
			t.Errorf("after it: %v: want the method's breaker closed", err)
		}
	})
}

// A stream with a deadline of ours is judged as any other.
func TestMethodBreakerOfStreamsWithDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutServiceBreaker(),
			surecall.ForMethod(watchMethod, surecall.WithCallDeadline(time.Minute), surecall.WithMethodBreaker(breaker.MethodPolicy{})))
		failAll(cluster, codes.Internal)
		var err error
		for range 60 {
			var s grpc.ServerStreamingClient[orders.Order]
			if s, err = orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{}); err == nil {
				_, err = s.Recv()
			}
		}
		if !errors.Is(err, surecall.ErrMethodDown) {
			t.Errorf("after 60 failures: %v: want the method down", err)
		}
	})
}
