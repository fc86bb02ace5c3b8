package surecall_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// Policies that contradict each other are told by NewClient and by Update, which then
// changes nothing.
func TestContradictions(t *testing.T) {
	second := surecall.WithCallDeadline(time.Second)
	for name, test := range map[string]struct {
		options []surecall.LiveOption
		want    string
	}{
		"attempt timeout above the deadline": {
			[]surecall.LiveOption{second, surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: time.Second})},
			"surecall: AttemptTimeout.Fixed 1s: want less than the call deadline of 1s"},
		"its least above the deadline": {
			[]surecall.LiveOption{second, surecall.WithAttemptTimeout(surecall.AttemptTimeout{Min: 2 * time.Second})},
			"surecall: AttemptTimeout.Min 2s: want less than the call deadline of 1s"},
		"above the deadline of a method": {
			[]surecall.LiveOption{
				surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 2 * time.Second}), surecall.ForMethod(getMethod, second)},
			`surecall: ForMethod("/orders.v1.Orders/Get"): AttemptTimeout.Fixed 2s: want less than the call deadline of 1s`},
		"hedge after the deadline": {
			[]surecall.LiveOption{second, surecall.ForMethod(getMethod, surecall.WithHedge(retry.Hedge{Delay: time.Second}))},
			`ForMethod("/orders.v1.Orders/Get"): Hedge.Delay 1s: want less than the call deadline of 1s`},
		"hedge without retry": {
			[]surecall.LiveOption{surecall.WithHedge(retry.Hedge{}), surecall.WithoutRetry()},
			"surecall: WithHedge and MaxAttempts 1: a hedge is a second attempt: want MaxAttempts of at least 2, or WithoutHedge()"},
		"hedge of one method without retry": {
			[]surecall.LiveOption{surecall.WithHedge(retry.Hedge{}), surecall.ForMethod(getMethod, surecall.WithoutRetry())},
			`surecall: ForMethod("/orders.v1.Orders/Get"): WithHedge and MaxAttempts 1`},
		"hedge without idempotency": {
			[]surecall.LiveOption{surecall.ForMethod(placeMethod, surecall.WithHedge(retry.Hedge{}))},
			`surecall: ForMethod("/orders.v1.Orders/Place"): WithHedge: the method is not known to be idempotent: want AsIdempotent()`},
		"hedge of an unknown method": {
			[]surecall.LiveOption{surecall.ForMethod("/x.Y/Z", surecall.WithHedge(retry.Hedge{}))},
			`ForMethod("/x.Y/Z"): WithHedge: the method is not known to be idempotent`},
		"hedge of what was declared not idempotent": {
			[]surecall.LiveOption{surecall.ForMethod(getMethod, surecall.WithHedge(retry.Hedge{})), surecall.WithNotIdempotent(getMethod)},
			`ForMethod("/orders.v1.Orders/Get"): WithHedge: the method is not known to be idempotent`},
		"throttle and method breaker": {
			[]surecall.LiveOption{surecall.WithThrottle(limit.Throttle{}), surecall.WithMethodBreaker(breaker.MethodPolicy{})},
			"surecall: WithThrottle and WithMethodBreaker: want one of them"},
		"of one method": {
			[]surecall.LiveOption{surecall.WithThrottle(limit.Throttle{}), surecall.ForMethod(getMethod, surecall.WithMethodBreaker(breaker.MethodPolicy{}))},
			`surecall: ForMethod("/orders.v1.Orders/Get"): WithThrottle and WithMethodBreaker: want one of them`},
		"instance limit with a queue": {
			[]surecall.LiveOption{surecall.WithInstanceConcurrency(limit.Concurrency{Queue: limit.Queue{MaxWaiting: 7}})},
			"surecall: WithInstanceConcurrency: Queue {MaxWaiting:7"},
	} {
		t.Run(name, func(t *testing.T) {
			target, options := "dns:///orders:1", []surecall.Option{surecall.WithInsecure()}
			for _, o := range test.options {
				options = append(options, o)
			}
			client, err := surecall.NewClient(target, options...)
			if err == nil {
				client.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), "want ") != 1 {
				t.Errorf("NewClient: %v: want %q, once", err, test.want)
			}
			client, err = surecall.NewClient(target, surecall.WithInsecure())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Update(test.options...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Update: %v: want %q", err, test.want)
			}
			if err := client.Update(); err != nil {
				t.Errorf("after it: %v: want the contradiction not to have been applied", err)
			}
		})
	}
}

// What looks like a contradiction and is none: what is said of many methods may have no
// meaning for some of them.
func TestNoContradiction(t *testing.T) {
	hedge := surecall.WithHedge(retry.Hedge{})
	for name, options := range map[string][]surecall.Option{
		"a short deadline, and the attempt timeout's defaults": {surecall.WithCallDeadline(50 * time.Millisecond)},
		"a hedge for all, and a method that has none":          {hedge, surecall.WithNotIdempotent(placeMethod)},
		"a hedge for a service, and a method that has none": {
			surecall.ForMethod("/orders.v1.Orders/*", hedge), surecall.WithNotIdempotent(placeMethod)},
		"a hedge for a service, and something else for a method that has none": {
			surecall.ForMethod("/orders.v1.Orders/*", hedge), surecall.ForMethod(placeMethod, surecall.WithCallDeadline(time.Second))},
		"a hedge of what was declared idempotent": {surecall.ForMethod(placeMethod, hedge, surecall.AsIdempotent())},
		"declared so by another option":           {surecall.ForMethod(placeMethod, hedge), surecall.WithIdempotent("/orders.v1.Orders/*")},
		"a hedge and no retry, of different methods": {
			surecall.WithoutRetry(), surecall.ForMethod(getMethod, hedge, surecall.WithRetry(retry.Policy{}))},
		"throttle and breaker, of different methods": {
			surecall.WithThrottle(limit.Throttle{}), surecall.ForMethod(getMethod, surecall.WithoutThrottle(), surecall.WithMethodBreaker(breaker.MethodPolicy{}))},
		"no deadline, and a long attempt": {
			surecall.WithoutCallDeadline(), surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: time.Hour})},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := surecall.NewClient("dns:///orders:1", append(options, surecall.WithInsecure())...)
			if err != nil {
				t.Fatal(err)
			}
			client.Close()
		})
	}
}

// What is valid and likely not meant is told, and told once.
func TestDoubts(t *testing.T) {
	budget := surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 0.5})
	unwanted := surecall.WithRetry(retry.Policy{Unwanted: func(any) bool { return false }})
	for name, test := range map[string]struct {
		options []surecall.LiveOption
		want    string // none if empty
	}{
		"budget without retries":    {[]surecall.LiveOption{budget, surecall.WithoutRetry()}, "WithRetryBudget: nothing is retried"},
		"budget for one method":     {[]surecall.LiveOption{budget, surecall.WithoutRetry(), surecall.ForMethod(getMethod, surecall.WithRetry(retry.Policy{}))}, ""},
		"budget":                    {[]surecall.LiveOption{budget}, ""},
		"call ID":                   {[]surecall.LiveOption{surecall.ForMethod(placeMethod, surecall.WithCallID())}, `ForMethod("/orders.v1.Orders/Place"): WithCallID: the method is not idempotent`},
		"call ID of a repeated":     {[]surecall.LiveOption{surecall.ForMethod(placeMethod, surecall.WithCallID(), surecall.AsIdempotent())}, ""},
		"call ID of all":            {[]surecall.LiveOption{surecall.WithCallID(), surecall.ForMethod(placeMethod)}, ""},
		"call ID of a service":      {[]surecall.LiveOption{surecall.ForMethod("/orders.v1.Orders/*", surecall.WithCallID()), surecall.WithNotIdempotent(placeMethod)}, ""},
		"unwanted replies":          {[]surecall.LiveOption{surecall.ForMethod(placeMethod, unwanted)}, `ForMethod("/orders.v1.Orders/Place"): retry.Policy.Unwanted: the method is not idempotent`},
		"unwanted of a service":     {[]surecall.LiveOption{surecall.ForMethod("/orders.v1.Orders/*", unwanted), surecall.WithNotIdempotent(placeMethod)}, ""},
		"unwanted of an idempotent": {[]surecall.LiveOption{surecall.ForMethod(getMethod, unwanted)}, ""},
		"a timeout without retries": {[]surecall.LiveOption{surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 500 * time.Millisecond}), surecall.WithoutRetry()}, "WithAttemptTimeout: nothing is retried"},
		"a pattern of nothing":      {[]surecall.LiveOption{surecall.ForMethod("/orders.v1.Order/*", surecall.WithoutRetry())}, `method pattern "/orders.v1.Order/*" fits no method`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				told := func(events *log) (what []string) {
					for _, w := range eventsOf[event.ConfigWarning](events) {
						what = append(what, w.What)
					}
					return what
				}
				check := func(when string, events *log) {
					t.Helper()
					switch got := told(events); {
					case test.want == "" && len(got) > 0:
						t.Errorf("%s: told %q: want nothing", when, got)
					case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
						t.Errorf("%s: told %q: want %q, once", when, got, test.want)
					}
				}
				atOnce, later := &log{}, &log{}
				var options []surecall.Option
				for _, o := range slices.Insert(slices.Clone(test.options), 0, atOnce.option()) {
					options = append(options, o)
				}
				client := cluster.Client(options...)
				check("NewClient", atOnce)
				if err := client.Update(surecall.WithCallDeadline(time.Second)); err != nil {
					t.Fatal(err)
				}
				check("an Update of something else", atOnce)

				client = cluster.Client(later.option())
				for range 2 {
					if err := client.Update(test.options...); err != nil {
						t.Fatal(err)
					}
					check("Update", later)
				}
				synctest.Wait()
			})
		})
	}
}

// gRPC's own retries would multiply with ours: they cannot be had, by whatever option.
func TestNoRetriesOfGRPC(t *testing.T) {
	retries := `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":5,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}`
	_, err := surecall.NewClient("dns:///orders:1", surecall.WithInsecure(),
		surecall.WithDialOptions(grpc.WithDefaultServiceConfig(retries), grpc.WithMaxCallAttempts(5)))
	for _, want := range []string{
		"grpc.WithDefaultServiceConfig is surecall's own: use surecall's options",
		"grpc.WithMaxCallAttempts is surecall's own: use surecall.WithRetry",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q in it", err, want)
		}
	}
}

// An attempt timeout above the default deadline is doubted, and no error: the callers may
// set longer ones.
func TestTimeoutAboveDefaultDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := &log{}
		surecalltest.NewCluster(t, 1).Client(events.option(), surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 6 * time.Second}))
		told := eventsOf[event.ConfigWarning](events)
		if len(told) != 1 || told[0].What != "AttemptTimeout.Fixed 6s: want less than the call deadline of 5s" {
			t.Errorf("told %+v", told)
		}
	})
}
