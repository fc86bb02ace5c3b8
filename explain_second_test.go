package surecall_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// What a fallback says is the call's error, as it is; the attempts before it are the story.
func TestExplainFallback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		own := errors.New("nothing to fall back on")
		var fails bool
		client := ready(t, cluster, surecall.WithoutServiceBreaker(), surecall.ForMethod(getMethod, surecall.WithFallback(
			func(ctx context.Context, r *orders.GetRequest, cause error) (*orders.Order, error) {
				if len(surecall.Explain(cause).Call.Attempts) != 3 {
					t.Errorf("the cause is explained by %v: want 3 attempts", surecall.Explain(cause))
				}
				if fails {
					return nil, own
				}
				return madeUp(ctx, r, cause)
			})))
		failAll(cluster, codes.Unavailable)
		if _, err := unary(t.Context(), client, getMethod); err != nil {
			t.Fatal(err)
		}
		if b := client.BadCalls(); len(b) != 1 || b[0].Call.Err != nil || b[0].Call.SecondBest != event.Fallback || len(b[0].Call.Attempts) != 3 {
			t.Errorf("%v: want the call that the fallback answered, and no failure", b)
		}
		fails = true
		_, err := unary(t.Context(), client, getMethod)
		e := surecall.Explain(err)
		if !errors.Is(err, own) || e == nil || e.Call.Err != own || len(e.Call.Attempts) != 3 || e.Service != "orders" {
			t.Fatalf("%v, explained by %+v: want the fallback's error, and 3 attempts", err, e)
		}
		if s, ok := status.FromError(err); ok || s.Code() != codes.Unknown || s.Message() != own.Error() {
			t.Errorf("status %v, %v: want what an error without one has", s, ok)
		}
		if b := client.BadCalls(); len(b) != 2 || !strings.Contains(b[0].String(), own.Error()) {
			t.Errorf("%v: want it kept once", b)
		}
	})
}

// What an alternate answers is explained as this client's call, not as the alternate's.
func TestExplainAlternate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 3), surecalltest.NewCluster(t, 1)
		failAll(cluster, codes.Unavailable)
		failAll(there, codes.NotFound)
		client := ready(t, cluster, surecall.WithAlternate(ready(t, there)))
		_, err := unary(t.Context(), client, getMethod)
		e := surecall.Explain(err)
		if status.Code(err) != codes.NotFound || e == nil || len(e.Call.Attempts) != 3 || e.Call.SecondBest != event.Alternate || status.Code(e.Call.Err) != codes.NotFound {
			t.Errorf("%v, explained by %+v: want the answer from elsewhere, and 3 attempts here", err, e)
		}
	})
}

// Calls that waited for another with the same request have a story of their own.
func TestExplainSharedCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithoutRetry(), surecall.ForMethod(getMethod, surecall.WithCache(surecall.CachePolicy{Fresh: time.Second})))
		slowAll(cluster, 30*time.Millisecond)
		failAll(cluster, codes.DataLoss)
		var (
			calls sync.WaitGroup
			told  [3]*surecall.Explanation
		)
		began := time.Now()
		for n := range told {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if n == 2 {
					ctx, cancel = context.WithTimeout(t.Context(), 15*time.Millisecond)
				}
				defer cancel()
				_, err := unary(ctx, client, getMethod)
				told[n] = surecall.Explain(err)
			})
			advance(5 * time.Millisecond)
		}
		calls.Wait()
		for n, e := range told {
			waited := []time.Duration{0, 25 * time.Millisecond, 15 * time.Millisecond}[n]
			if e == nil || !e.Call.Began.Equal(began.Add(time.Duration(n)*5*time.Millisecond)) || e.Call.Waited != waited || n > 0 && e == told[n-1] {
				t.Fatalf("call %d: %+v: want its own, that waited %v", n, e, waited)
			}
		}
		if advice := strings.Join(told[2].Advice(), ""); !strings.Contains(advice, "of 15ms, which its caller set") || !strings.Contains(advice, "another call with the same request") {
			t.Errorf("advice %q", advice)
		}
	})
}

// Advice where the code alone would mislead.
func TestAdvice(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   []surecall.Option
		call   func(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) error
		advice string
	}{
		{"a wrong option", nil, func(t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) error {
			return second(unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithCallDeadline(-1))))
		}, "nothing was sent"},
		{"too large", nil, func(t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) error {
			return second(unary(t.Context(), client, getMethod, grpc.MaxCallSendMsgSize(1)))
		}, "gRPC's own error"},
		{"too large on a stream", nil, func(t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) error {
			_, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{Id: "1"}, grpc.MaxCallSendMsgSize(1))
			return err
		}, "gRPC's own error"},
		{"not encodable", nil, func(t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) error {
			return client.Invoke(t.Context(), getMethod, 7, &orders.Order{})
		}, "gRPC's own error"},
		{"the service is broken", nil, func(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) error {
			failAll(cluster, codes.Internal)
			return second(unary(t.Context(), client, getMethod))
		}, "see its log"},
		{"the service's own deadline", nil, func(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) error {
			failAll(cluster, codes.DeadlineExceeded)
			return second(unary(t.Context(), client, placeMethod))
		}, "before the call's time was up"},
		{"never retried", []surecall.Option{surecall.WithoutRetry()}, func(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) error {
			failAll(cluster, codes.Unavailable)
			return second(unary(t.Context(), client, placeMethod))
		}, "retries were off"},
		{"no connection in time", nil, func(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) error {
			killAll(cluster)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return second(unary(ctx, client, placeMethod, grpc.WaitForReady(true)))
		}, "it was never sent"},
		{"late, and nothing to pay with", []surecall.Option{surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 100 * time.Millisecond}),
			surecall.WithRetryBudget(retry.BudgetPolicy{MinCapacity: 1, PerSecond: 1e-9, Ratio: 1e-9})},
			func(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) error {
				slowAll(cluster, time.Minute)
				return second(unary(t.Context(), client, getMethod))
			}, "retry budget was empty"},
		{"closed", nil, func(t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) error {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			return second(unary(t.Context(), client, getMethod))
		}, "the client was closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster, append(test.opts, surecall.WithoutServiceBreaker())...)
				err := test.call(t, cluster, client)
				if e := surecall.Explain(err); e == nil || !strings.Contains(fmt.Sprint(e.Advice()), test.advice) {
					t.Errorf("%v:\n%v\nwant %q", err, e, test.advice)
				}
			})
		})
	}
}
