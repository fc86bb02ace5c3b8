package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// Every failed call says how it came about, and what would have helped.
func TestExplain(t *testing.T) {
	single := surecall.WithRetry(retry.Policy{MaxAttempts: 1})
	for _, test := range []struct {
		name     string
		method   string
		opts     []surecall.Option
		damage   func(*surecalltest.Cluster)
		attempts string // their codes
		denied   event.Denial
		advice   string // a part of it
	}{
		{"not idempotent", placeMethod, nil, func(c *surecalltest.Cluster) { failAll(c, codes.Unavailable) },
			"Unavailable", event.NotIdempotent, "WithIdempotent(\"/orders.v1.Orders/Place\")"},
		{"attempts spent", getMethod, nil, func(c *surecalltest.Cluster) { failAll(c, codes.Unavailable) },
			"Unavailable Unavailable Unavailable", event.AttemptsSpent, "3 attempts failed"},
		{"budget empty", getMethod, []surecall.Option{surecall.WithRetryBudget(retry.BudgetPolicy{MinCapacity: 1, PerSecond: 1e-9, Ratio: 1e-9})},
			func(c *surecalltest.Cluster) { failAll(c, codes.Unavailable) }, "Unavailable Unavailable", event.BudgetEmpty, "retry budget was empty"},
		{"no retries", getMethod, []surecall.Option{single}, func(c *surecalltest.Cluster) { failAll(c, codes.Unavailable) },
			"Unavailable", "", "see WithRetry"},
		{"an answer", getMethod, nil, func(c *surecalltest.Cluster) { failAll(c, codes.NotFound) }, "NotFound", "", "the service's own answer"},
		{"unimplemented", getMethod, nil, func(c *surecalltest.Cluster) { failAll(c, codes.Unimplemented) }, "Unimplemented", "", "does not know the method"},
		{"unauthenticated", getMethod, nil, func(c *surecalltest.Cluster) { failAll(c, codes.Unauthenticated) }, "Unauthenticated", "", "credentials"},
		{"a deadline of ours", placeMethod, nil, func(c *surecalltest.Cluster) { slowAll(c, time.Minute) },
			"DeadlineExceeded", "", "of 5s, which surecall set"},
		{"none known", getMethod, []surecall.Option{surecall.WithLoss(applyAtOnce)}, func(c *surecalltest.Cluster) { c.EmptyList(); synctest.Wait() },
			"Unavailable", "", "knows no instance of \"orders\""},
		{"none to be had", getMethod, nil, func(c *surecalltest.Cluster) {
			for _, i := range c.Instances() {
				i.Kill()
			}
			synctest.Wait()
		}, "Unavailable", "", "no instance can be connected to"},
		{"rate limit", getMethod, []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: 1e-3, Burst: 1})}, func(*surecalltest.Cluster) {},
			"", "", "WithRateLimit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster, append(test.opts, surecall.WithoutServiceBreaker())...)
				get(t, client)
				test.damage(cluster)
				_, err := unary(t.Context(), client, test.method)
				e := surecall.Explain(fmt.Errorf("wrapped: %w", err))
				if err == nil || e == nil {
					t.Fatalf("error %v, explained by %v: want both", err, e)
				}
				var brought []string
				for _, a := range e.Call.Attempts {
					brought = append(brought, status.Code(a.Err).String())
				}
				if got := strings.Join(brought, " "); got != test.attempts || e.Call.Denied != test.denied {
					t.Errorf("attempts %q, denied %q: want %q, %q", got, e.Call.Denied, test.attempts, test.denied)
				}
				if advice := strings.Join(e.Advice(), "\n"); !strings.Contains(advice, test.advice) {
					t.Errorf("advice %q: want %q in it", advice, test.advice)
				}
				if e.Service != "orders" || e.Call.Method != test.method || !errors.Is(err, e.Call.Err) || e.Call.Err.Error() != err.Error() {
					t.Errorf("%+v: want service, method and error of the call", e)
				}
				if s := e.String(); !strings.Contains(s, test.method) || strings.Count(s, "\n") != len(e.Call.Attempts)+len(e.Advice())+min(1, len(e.Call.Denied)) {
					t.Errorf("want a line for the call, each attempt, the denial and each advice:\n%s", s)
				}
			})
		})
	}
}

// What carries the explanation changes nothing else about the error.
func TestExplainLeavesTheStatus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		details, err := status.New(codes.FailedPrecondition, "told to fail").WithDetails(&orders.Order{Id: "7"})
		if err != nil {
			t.Fatal(err)
		}
		cluster.Instance(0).FailFunc(func(string, int64) error { return details.Err() })
		_, err = unary(t.Context(), client, getMethod)
		got, ok := status.FromError(err)
		if !ok || got.Code() != codes.FailedPrecondition || got.Message() != "told to fail" || len(got.Details()) != 1 {
			t.Errorf("status %v with details %v: want the server's own", got, got.Details())
		}
		if want := details.Err().Error(); err.Error() != want {
			t.Errorf("text %q, want %q", err, want)
		}
		if surecall.Explain(nil) != nil || surecall.Explain(details.Err()) != nil {
			t.Error("explained what did not come out of a call")
		}
	})
}

// Whatever a call fails for and wherever, its error is explained.
func TestEveryErrorIsExplained(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.ForMethod(cancelMethod, surecall.WithFallback(
			func(context.Context, *orders.CancelRequest, error) (*orders.Order, error) {
				return nil, errors.New("nothing to fall back on")
			})))
		stub := orders.NewOrdersClient(client)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		failAll(cluster, codes.Unavailable)
		stream := func(opts ...grpc.CallOption) error {
			s, err := stub.Watch(t.Context(), &orders.GetRequest{Id: "1"}, opts...)
			for err == nil {
				_, err = s.Recv()
			}
			return err
		}
		for name, err := range map[string]error{
			"unary":           second(unary(t.Context(), client, placeMethod)),
			"canceled":        second(unary(canceled, client, getMethod)),
			"fallback":        second(unary(t.Context(), client, cancelMethod)),
			"bad option":      second(unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithCallDeadline(-1)))),
			"unknown method":  client.Invoke(t.Context(), "/x.Y/Z", &orders.GetRequest{}, &orders.Order{}),
			"not encodable":   client.Invoke(t.Context(), getMethod, 7, &orders.Order{}),
			"stream":          stream(),
			"stream's option": stream(surecall.ForCall(surecall.WithCallDeadline(-1))),
		} {
			if err == nil || surecall.Explain(err) == nil || surecall.Explain(err).Call.Method == "" {
				t.Errorf("%s: %v is not explained", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// The flight recorder keeps calls that went badly, the newest, and nothing large.
func TestFlightRecorder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithoutServiceBreaker(), surecall.WithoutBreaker())
		bad := func() []*surecall.Explanation { return client.BadCalls() }
		get(t, client)
		failAll(cluster, codes.NotFound)
		_, _ = unary(t.Context(), client, getMethod)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = unary(canceled, client, getMethod)
		if n := len(bad()); n != 0 {
			t.Fatalf("%d kept of calls that went as usual, were answered or cancelled: want none", n)
		}

		failFirst(cluster, 1, codes.Unavailable)
		get(t, client)
		if b := bad(); len(b) != 1 || b[0].Call.Err != nil || len(b[0].Call.Attempts) != 2 {
			t.Fatalf("%v: want the call that a second attempt mended", b)
		}
		for _, i := range cluster.Instances() {
			i.FailFunc(func(string, int64) error { return status.Error(codes.Unavailable, strings.Repeat("x", 100_000)) })
		}
		for n := range 2 * surecall.RecordedCalls {
			advance(time.Second)
			_, err := unary(t.Context(), client, placeMethod)
			if e := surecall.Explain(err); len(e.Call.Err.Error()) < 100_000 || len(err.Error()) < 100_000 {
				t.Fatalf("call %d: its own error was cut", n)
			}
		}
		b := bad()
		if len(b) != surecall.RecordedCalls+1 {
			t.Fatalf("%d kept: want %d that failed and the one that was mended", len(b), surecall.RecordedCalls)
		}
		for n, e := range b[:surecall.RecordedCalls] {
			if n > 0 && e.Call.Began.After(b[n-1].Call.Began) {
				t.Fatal("not the newest first")
			}
			if size := len(e.Call.Err.Error()) + len(e.Call.Attempts[0].Err.Error()); size > 1200 || status.Code(e.Call.Err) != codes.Unavailable {
				t.Fatalf("kept %d bytes of %v: want at most 500 of each message, and the code", size, status.Code(e.Call.Err))
			}
		}
	})
}
