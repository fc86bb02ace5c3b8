package surecall_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

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
