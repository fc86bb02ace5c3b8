package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"google.golang.org/grpc"
	"strings"
	"sync"
	"testing"
	"time"

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

// A rate bounds the calls that begin, streams among them: of the client, of a pattern's
// methods together, or both.
func TestRateLimit(t *testing.T) {
	ten := limit.Rate{PerSecond: 10}
	for _, test := range []struct {
		name        string
		options     []surecall.Option
		gets, after int // of 15 calls of Get, and then of 15 of Place, so many pass
	}{
		{"client", []surecall.Option{surecall.WithRateLimit(ten)}, 10, 0},
		{"pattern", []surecall.Option{surecall.ForMethod("/orders.v1.Orders/*", surecall.WithRateLimit(ten))}, 10, 0},
		{"other pattern", []surecall.Option{surecall.ForMethod("/orders.v1.Orders/G*", surecall.WithRateLimit(ten))}, 10, 15},
		{"both", []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: 13}), surecall.ForMethod(getMethod, surecall.WithRateLimit(ten))}, 10, 3},
		{"not of the method", []surecall.Option{surecall.WithRateLimit(ten), surecall.ForMethod(getMethod, surecall.WithoutRateLimit())}, 15, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 2)
				client := ready(t, cluster, test.options...)
				for second := range 3 {
					if n := let(t.Context(), client, getMethod, 15); n != test.gets {
						t.Errorf("second %d: %d of 15 calls of Get passed: want %d", second, n, test.gets)
					}
					if n := let(t.Context(), client, placeMethod, 15); n != test.after {
						t.Errorf("second %d: %d of 15 calls of Place passed: want %d", second, n, test.after)
					}
					advance(time.Second + time.Millisecond)
				}
			})
		})
	}
}

// The rejection says when the next call can pass, and a stream is refused like any call.
func TestRateLimitRejection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		client := ready(t, cluster, events.option(), surecall.WithRateLimit(limit.Rate{PerSecond: 10, Burst: 1}))
		stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = unary(t.Context(), client, getMethod)
		r := wantRejection(t, err, surecall.ErrRateLimited, codes.ResourceExhausted,
			`surecall: rate limit of "orders", /orders.v1.Orders/Get: limit: rate exceeded: next in 100ms`)
		if !errors.Is(err, limit.ErrRate) || !errors.Is(err, limit.ErrExceeded) || r.RetryAfter.Round(time.Millisecond) != 100*time.Millisecond {
			t.Errorf("error %#v: want the limit's own within, and 100 ms", err)
		}
		_, err = orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		wantRejection(t, err, surecall.ErrRateLimited, codes.ResourceExhausted)
		if told := eventsOf[event.CallRejected](events); len(told) != 2 {
			t.Errorf("events %+v: want two rejections", told)
		}
		advance(r.RetryAfter)
		get(t, client)
		if _, err := stream.Recv(); err != nil {
			t.Error(err)
		}
	})
}

// With Wait a call waits for its turn, if that is soon enough and before its deadline; the
// trace tells how long. One that leaves gives its turn back.
func TestRateLimitWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithRateLimit(limit.Rate{PerSecond: 10, Burst: 1, Wait: true}))
		wait := func(ctx context.Context) (surecall.CallTrace, error) {
			var trace surecall.CallTrace
			_, err := unary(ctx, client, getMethod, surecall.Trace(&trace))
			return trace, err
		}
		get(t, client)
		trace, err := wait(t.Context())
		if err != nil || trace.Waited.Round(time.Millisecond) != 100*time.Millisecond || len(trace.Attempts) != 1 || trace.Attempts[0].Began != trace.Waited {
			t.Errorf("%v, %+v: want a wait of 100 ms before the only attempt", err, trace)
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err = wait(short)
		wantRejection(t, err, surecall.ErrRateLimited, codes.ResourceExhausted, "limit: deadline cannot be met: next in 100ms")
		if !errors.Is(err, limit.ErrNoTime) || time.Since(began) != 0 {
			t.Errorf("%v after %v: want no wait that cannot end in time", err, time.Since(began))
		}
		left, leave := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, leave)
		trace, err = wait(left)
		if status.Code(err) != codes.Canceled || !strings.Contains(err.Error(), "while it waited under a rate limit") {
			t.Errorf("error %v: want CANCELED, and what it waited for", err)
		}
		if trace.Waited != 30*time.Millisecond {
			t.Errorf("waited %v: want 30 ms", trace.Waited)
		}
		if trace, err = wait(t.Context()); err != nil || trace.Waited.Round(time.Millisecond) != 70*time.Millisecond {
			t.Errorf("%v, %+v: want the turn that was given back", err, trace)
		}
		sheddable := surecall.WithPriority(t.Context(), limit.Sheddable)
		if _, err := wait(sheddable); !errors.Is(err, surecall.ErrRateLimited) {
			t.Errorf("error %v: want a sheddable call not to wait", err)
		}
	})
}

// An Update leaves what was used up of a rate used up.
func TestUpdateOfRates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		five := limit.Rate{PerSecond: 0.01, Burst: 5}
		client := ready(t, cluster, surecall.WithRateLimit(five))
		if n := let(t.Context(), client, getMethod, 3); n != 3 {
			t.Fatalf("%d passed: want 3", n)
		}
		if err := client.Update(surecall.WithRateLimit(five), surecall.WithCallDeadline(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n := let(t.Context(), client, placeMethod, 5); n != 2 {
			t.Errorf("%d passed: want the 2 tokens that were left", n)
		}
		if err := client.Update(surecall.WithRateLimit(limit.Rate{PerSecond: 0.01, Burst: 3})); err != nil {
			t.Fatal(err)
		}
		if n := let(t.Context(), client, getMethod, 5); n != 0 {
			t.Errorf("%d passed: want none, all tokens are used up", n)
		}
		if err := client.Update(surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: 3})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2001 * time.Millisecond)
		if n := let(t.Context(), client, getMethod, 5); n != 2 {
			t.Errorf("%d passed: want those of two seconds at the new rate", n)
		}
	})
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
				normal, sheddable := storm(t.Context(), placeMethod), storm(surecall.WithPriority(t.Context(), limit.Sheddable), placeMethod)
				if normal < 385 || sheddable > 375 {
					t.Errorf("with 40 %% refused, of 400 calls passed %d normal and %d sheddable ones: want only the latter held back", normal, sheddable)
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

// What the client's rate refuses does not use up the method's.
func TestRefusedRateIsGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: 1}),
			surecall.ForMethod(getMethod, surecall.WithRateLimit(limit.Rate{PerSecond: 0.1, Burst: 10})))
		passed := 0
		for range 20 { // seconds of ten calls each
			passed += let(t.Context(), client, getMethod, 10)
			time.Sleep(1001 * time.Millisecond)
		}
		if passed < 10 {
			t.Errorf("%d passed: want 10 at least, that many both limits allow", passed)
		}
	})
}

// A change of its number is no reason for a limit to forget.
func TestTunedLimitsRemember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithRateLimit(limit.Rate{PerSecond: 10, Burst: 10}))
		passed := 0
		for n := range 10 {
			passed += let(t.Context(), client, getMethod, 20)
			if err := client.Update(surecall.WithRateLimit(limit.Rate{PerSecond: 10 + 0.001*float64(n), Burst: 10})); err != nil {
				t.Fatal(err)
			}
		}
		if passed > 10 {
			t.Errorf("%d calls passed at one moment: want 10", passed)
		}
	})
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithConcurrency(limit.Concurrency{Limit: 20}))
		cluster.Instance(0).Delay(time.Second)
		var calls sync.WaitGroup
		for n := range 2 {
			for range 30 {
				calls.Go(func() { _, _ = unary(t.Context(), client, placeMethod) })
			}
			time.Sleep(time.Millisecond)
			if err := client.Update(surecall.WithConcurrency(limit.Concurrency{Limit: 19 - n})); err != nil {
				t.Fatal(err)
			}
		}
		calls.Wait()
		if peak := cluster.Instance(0).Peak(); peak > 20 {
			t.Errorf("%d at a time: want 20 at most", peak)
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
