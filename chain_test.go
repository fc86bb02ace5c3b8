package surecall_test

import (
	"context"
	"errors"
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

// The order of the chain: what stands outside sees, bounds or judges what is inside. Each
// case would fail if its step stood elsewhere.
func TestChainOrder(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"user interceptors are outside of all", userInterceptorsAreOutside},
		{"1 observe sees every rejection", observeSeesRejections},
		{"2 the policy of a call is that of its beginning", policyOfTheBeginning},
		{"3 second best runs on the caller's context", secondBestOnCallersContext},
		{"4 the call deadline is shared by all attempts", deadlineIsShared},
		{"4 the call deadline bounds the wait for a rate", deadlineBoundsWaits},
		{"5 a call that the rate refuses is no failure for the breakers", rateBeforeBreakers},
		{"5 a breaker that opens while a call waits for its rate rejects it", breakersAfterWaits},
		{"5 the rate counts calls, not attempts", rateCountsCalls},
		{"6 the throttle judges calls, not attempts", throttleJudgesCalls},
		{"6 what a limit of ours refuses is no refusal of the service", limitsAreNotTheService},
		{"7 the service breaker's trial is one attempt", trialIsOneAttempt},
		{"7 what the service breaker rejects does not open the method's", serviceBeforeMethod},
		{"8 the method breaker judges calls, not attempts", methodBreakerJudgesCalls},
		{"9 a rejection of ours is final", rejectionIsFinal},
		{"10 an attempt holds a slot, a pause does not", slotsAreOfAttempts},
		{"11 a hedge has a slot of its own and waits for none", hedgeWaitsForNoSlot},
		{"12 the attempt timeout begins with the slot", timeoutBeginsWithSlot},
		{"12 the attempt timeout begins with the pick", timeoutBeginsWithPick},
		{"13 the pick passes over who is full, and who finds all full holds no slot", pickInsideLimits},
		{"15 the verdict is of the error that the caller sees", verdictOfTheError},
	} {
		t.Run(test.name, func(t *testing.T) { bubble(t, test.run) })
	}
}

func userInterceptorsAreOutside(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 3)
	seen, deadline := 0, false
	client := ready(t, cluster, surecall.WithDialOptions(grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, m string, q, r any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			seen++
			_, deadline = ctx.Deadline()
			return invoke(ctx, m, q, r, cc, o...)
		})))
	failFirst(cluster, 2, codes.Unavailable)
	get(t, client)
	if seen != 1 || deadline {
		t.Errorf("seen %d times, with a deadline: %v: want the caller's own call, once", seen, deadline)
	}
}

func observeSeesRejections(t *testing.T) {
	for reason, option := range map[error]surecall.Option{
		surecall.ErrRateLimited: surecall.WithRateLimit(limit.Rate{PerSecond: 1}),
		surecall.ErrThrottled:   surecall.WithThrottle(limit.Throttle{}),
		surecall.ErrServiceDown: surecall.WithOptions(),
		surecall.ErrMethodDown:  surecall.WithMethodBreaker(breaker.MethodPolicy{}),
		surecall.ErrConcurrency: surecall.WithConcurrency(limit.Concurrency{Limit: 1}),
	} {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		client := ready(t, cluster, events.option(), option)
		cluster.Instance(0).Delay(20 * time.Millisecond)
		failFirst(cluster, 1e9, codes.Unavailable)
		rejected := 0
		for _, r := range load(t, client, placeMethod, 10*time.Millisecond, 2*time.Second) {
			if errors.Is(r.err, reason) {
				rejected++
			}
		}
		told := 0
		for _, e := range eventsOf[event.CallRejected](events) {
			if errors.Is(e.Err, reason) {
				told++
			}
		}
		if rejected == 0 || told != rejected {
			t.Errorf("%v: %d calls rejected, %d CallRejected: want one for each", reason, rejected, told)
		}
	}
}

func policyOfTheBeginning(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 3)
	client := ready(t, cluster, surecall.WithoutBreaker())
	failAll(cluster, codes.Unavailable)
	for _, i := range cluster.Instances() {
		i.Delay(20 * time.Millisecond)
	}
	time.AfterFunc(10*time.Millisecond, func() {
		if err := client.Update(surecall.WithoutRetry()); err != nil {
			t.Error(err)
		}
	})
	for _, want := range []int{3, 1} {
		before := cluster.Calls()
		if _, err := unary(t.Context(), client, getMethod); status.Code(err) != codes.Unavailable || cluster.Calls()-before != want {
			t.Errorf("error %v after %d attempts: want %d, by what held when the call began", err, cluster.Calls()-before, want)
		}
	}
}

func secondBestOnCallersContext(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 2)
	client := ready(t, cluster, surecall.WithCallDeadline(time.Second), surecall.ForMethod(getMethod, surecall.WithFallback(
		func(ctx context.Context, _ *orders.GetRequest, _ error) (*orders.Order, error) {
			return &orders.Order{}, ctx.Err()
		})))
	hangAll(cluster)
	began := time.Now()
	if _, err := unary(t.Context(), client, getMethod); err != nil || time.Since(began) != time.Second {
		t.Errorf("error %v after %v: want the fallback's answer after the call deadline of 1s", err, time.Since(began))
	}
}

func deadlineIsShared(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 3)
	client := ready(t, cluster, surecall.WithCallDeadline(500*time.Millisecond))
	hangAll(cluster)
	var trace surecall.CallTrace
	began := time.Now()
	_, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace))
	if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != 500*time.Millisecond || len(trace.Attempts) < 2 {
		t.Errorf("error %v after %v and %d attempts: want the deadline of all, 500ms", err, took, len(trace.Attempts))
	}
}

func deadlineBoundsWaits(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 1)
	client := ready(t, cluster, surecall.WithCallDeadline(100*time.Millisecond),
		surecall.WithRateLimit(limit.Rate{PerSecond: 5, Burst: 1, Wait: true}))
	get(t, client)
	began := time.Now()
	if _, err := unary(t.Context(), client, getMethod); !errors.Is(err, limit.ErrNoTime) || time.Since(began) != 0 {
		t.Errorf("error %v after %v: want it at once, that the deadline cannot be met", err, time.Since(began))
	}
}

func rateBeforeBreakers(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 1), &log{}
	client := ready(t, cluster, events.option(),
		surecall.WithRateLimit(limit.Rate{PerSecond: 10, Burst: 1}), surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 5}))
	rejected := 0
	for _, r := range load(t, client, getMethod, time.Millisecond, 5*time.Second) {
		switch {
		case errors.Is(r.err, surecall.ErrRateLimited):
			rejected++
		case r.err != nil:
			t.Fatalf("error %v: want none but of the rate", r.err)
		}
	}
	if opened := len(eventsOf[event.MethodBreakerChanged](events)) + len(eventsOf[event.ServiceBreakerChanged](events)); rejected < 4000 || opened > 0 {
		t.Errorf("%d calls over the rate, %d changes of breakers: want many and none", rejected, opened)
	}
}

func breakersAfterWaits(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 1)
	client := ready(t, cluster,
		surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: 1, Wait: true, MaxWait: 5 * time.Second}),
		surecall.WithMethodBreaker(breaker.MethodPolicy{}))
	get(t, client)
	time.AfterFunc(500*time.Millisecond, func() {
		if err := client.SetMethodMode(getMethod, breaker.ForcedOpen); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	if _, err := unary(t.Context(), client, getMethod); !errors.Is(err, surecall.ErrMethodDown) || time.Since(began).Round(time.Millisecond) != time.Second {
		t.Errorf("error %v after %v: want the breaker's, when the wait of 1s is over", err, time.Since(began))
	}
	if n := cluster.Calls(); n != 1 {
		t.Errorf("%d calls reached the instance: want the first only", n)
	}
}

func rateCountsCalls(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 3)
	client := ready(t, cluster, surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: 3}))
	for range 3 {
		failFirst(cluster, 2, codes.Unavailable)
		get(t, client)
	}
	if n := cluster.Calls(); n != 9 {
		t.Errorf("%d attempts: want three of each of the three calls that the rate allows", n)
	}
}

// flaky fails two of three attempts, in turn, so that each call succeeds with its third.
func flaky(c *surecalltest.Cluster) {
	attempt := 0
	for _, i := range c.Instances() {
		i.FailFunc(func(string, int64) error {
			if attempt++; attempt%3 != 0 {
				return status.Error(codes.Unavailable, "two of three")
			}
			return nil
		})
	}
}

func throttleJudgesCalls(t *testing.T) {
	judgesCalls(t, surecall.WithThrottle(limit.Throttle{K: 1.1}))
}

func limitsAreNotTheService(t *testing.T) {
	for name, limited := range map[string]surecall.Option{
		"client":   surecall.WithConcurrency(limit.Concurrency{Limit: 1}),
		"instance": surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1}),
	} {
		for judge, option := range map[string]surecall.Option{
			"throttle":       surecall.WithThrottle(limit.Throttle{}),
			"method breaker": surecall.WithMethodBreaker(breaker.MethodPolicy{}),
		} {
			cluster := surecalltest.NewCluster(t, 1)
			client := ready(t, cluster, limited, option)
			cluster.Instance(0).Delay(100 * time.Millisecond)
			for _, r := range load(t, client, getMethod, 5*time.Millisecond, time.Second) {
				if r.err != nil && !errors.Is(r.err, surecall.ErrConcurrency) {
					t.Fatalf("%s under a full limit of the %s: error %v: want only the limit's", judge, name, r.err)
				}
			}
		}
	}
}

func methodBreakerJudgesCalls(t *testing.T) {
	judgesCalls(t, surecall.WithMethodBreaker(breaker.MethodPolicy{FailureRatio: 0.1}))
}

// judgesCalls tests that nothing rejects calls that succeed, though most attempts fail.
func judgesCalls(t *testing.T, o surecall.Option) {
	t.Helper()
	cluster := surecalltest.NewCluster(t, 3)
	client := ready(t, cluster, o, surecall.WithRetryBudget(paid), surecall.WithoutBreaker())
	flaky(cluster)
	for range 200 {
		get(t, client)
	}
	if n := cluster.Calls(); n != 600 {
		t.Errorf("%d attempts for 200 calls: want three each", n)
	}
}

func trialIsOneAttempt(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 3), &log{}
	client := ready(t, cluster, events.option())
	failFirst(cluster, 1e9, codes.Unavailable)
	load(t, client, getMethod, 5*time.Millisecond, 1500*time.Millisecond)
	before := sum(reached(cluster))
	load(t, client, getMethod, 5*time.Millisecond, time.Second)
	if n := sum(reached(cluster)) - before; n > 21 {
		t.Errorf("%d attempts in 1 s of an open breaker: want one in 50 ms", n)
	}
}

func serviceBeforeMethod(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 1), &log{}
	client := ready(t, cluster, events.option(), surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 5}))
	if err := client.SetServiceMode(breaker.ForcedOpen); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := unary(t.Context(), client, getMethod); !errors.Is(err, surecall.ErrServiceDown) {
			t.Fatalf("error %v: want the service breaker's", err)
		}
	}
	if err := client.SetServiceMode(breaker.Automatic); err != nil {
		t.Fatal(err)
	}
	get(t, client)
	if changes := eventsOf[event.MethodBreakerChanged](events); len(changes) > 0 {
		t.Errorf("%+v: want that the method breaker stays closed", changes)
	}
}
