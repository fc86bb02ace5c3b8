package surecallotel_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// Counters count the calls from the client's first on, spans and durations from Observe to
// stop, and after stop nothing of the client is exported.
func TestObserveAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, to := surecalltest.NewCluster(t, 2), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client()
		calls := func(n int) {
			for range n {
				if err := get(t.Context(), client); err != nil {
					t.Fatal(err)
				}
			}
		}
		check := func(when string, counted float64, seen int) {
			t.Helper()
			if got := to.sum(t, "surecall.client.calls", "rpc.method", getName, "rpc.response.status_code", "OK"); got != counted {
				t.Errorf("%s: %v calls are counted: want %v", when, got, counted)
			}
			if spans, durations := len(to.ended(t)), to.count(t, "surecall.client.call.duration"); spans != 2*seen || int(durations) != seen {
				t.Errorf("%s: %d spans, %d durations: want those of %d calls", when, spans, durations, seen)
			}
		}
		calls(1)
		stop := to.observe(t, client)
		calls(2)
		check("observed", 3, 2)
		if _, err := surecallotel.Observe(client, to.options()...); err == nil {
			t.Error("a client may be observed twice")
		}
		calls(1)
		check("refused to observe again", 4, 3)
		ours := client.Observer()
		stop()
		stop()
		calls(1)
		check("stopped", 0, 3)
		if _, c := ours.Call(t.Context(), "orders", "/"+getName); c != nil { // by a call that began with the policy of before
			t.Error("it observes after stop")
		}
		to.observe(t, client)
		calls(1)
		check("observed again", 6, 4)
		if client.Close() != nil {
			t.Error("not closed")
		}
		check("closed", 6, 4)
	})
}

// Calls under way at stop end their spans, and the observer that came after ours stays.
func TestStopWhileCallsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, to := surecalltest.NewCluster(t, 1), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client(surecall.WithoutRetry())
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		cluster.Instance(0).Delay(time.Second)
		stop := to.observe(t, client)
		done := make(chan error, 1)
		go func() { done <- get(t.Context(), client) }()
		synctest.Wait()
		other, err := surecallotel.NewObserver(surecallotel.WithoutDurations())
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Update(surecall.WithObserver(other)); err != nil {
			t.Fatal(err)
		}
		stop()
		if client.Observer() != other {
			t.Error("stop took an observer away that is not its own")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := len(to.ended(t)); n != 2 {
			t.Errorf("%d spans: want 2", n)
		}
	})
}

// Observers come and go while calls of all kinds run on unsteady instances: no span is left
// open, none is without its call, and no goroutine stays.
func TestObserversChangeWhileCallsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, to := surecalltest.NewCluster(t, 3), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client(surecall.WithHedge(retry.Hedge{Delay: 5 * time.Millisecond}))
		cluster.Instance(0).DelaySome(.3, 40*time.Millisecond)
		cluster.Instance(1).FailSome(.2, codes.Unavailable)
		cluster.Instance(2).LoseAnswers(.05)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for ctx.Err() == nil {
					_ = get(ctx, client)
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Go(func() {
			for ctx.Err() == nil {
				ctx, cancel := context.WithTimeout(ctx, 15*time.Millisecond)
				if s, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{}); err == nil {
					_, _ = s.Recv()
				}
				cancel()
			}
		})
		all.Go(func() {
			for ctx.Err() == nil {
				stop, err := surecallotel.Observe(client, to.options()...)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(7 * time.Millisecond)
				to.sum(t, "surecall.client.calls")
				stop()
			}
		})
		all.Wait()
		synctest.Wait()
		spans := to.ended(t)
		calls := map[string]bool{}
		for _, s := range spans {
			if !isAttempt(s) {
				calls[s.SpanContext().SpanID().String()] = true
			}
		}
		for _, s := range spans {
			if isAttempt(s) && !calls[s.Parent().SpanID().String()] {
				t.Errorf("%q %v has no call", s.Name(), s.Attributes())
			}
		}
		if len(spans) < 500 {
			t.Errorf("%d spans: want many", len(spans))
		}
	})
}

// Of two that observe a client at the same moment one counts.
func TestObserveAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := surecalltest.NewCluster(t, 1).Client()
		for n := range 100 {
			to := newTelemetry(sdktrace.AlwaysSample())
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					if stop, err := surecallotel.Observe(client, to.options()...); err == nil {
						t.Cleanup(stop)
					}
				})
			}
			both.Wait()
			if err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if got := to.sum(t, "surecall.client.calls"); got != float64(n+1) {
				t.Fatalf("%v calls are counted: want %d", got, n+1)
			}
			if spans := len(to.ended(t)); spans != 2 {
				t.Fatalf("%d spans: want 2", spans)
			}
			if err := client.Update(surecall.WithObserver(nil)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An observer without a client sees all calls from the first on, and can serve several.
func TestNewObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, to := surecalltest.NewCluster(t, 1), newTelemetry(sdktrace.AlwaysSample())
		o, err := surecallotel.NewObserver(to.options()...)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			client := cluster.Client(surecall.WithObserver(o))
			if err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if _, err := surecallotel.Observe(client); err == nil {
				t.Error("observed twice")
			}
		}
		if n := len(to.ended(t)); n != 4 {
			t.Errorf("%d spans: want 4", n)
		}
	})
}

// What can be left out is.
func TestWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, to := surecalltest.NewCluster(t, 1), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client()
		for _, test := range []struct {
			without          surecallotel.Option
			spans, durations int
		}{
			{surecallotel.WithoutSpans(), 0, 1}, {surecallotel.WithoutDurations(), 2, 1},
		} {
			stop := to.observe(t, client, test.without)
			if err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			stop()
			if spans, n := len(to.ended(t)), to.count(t, "surecall.client.call.duration"); spans != test.spans || int(n) != test.durations {
				t.Errorf("%d spans, %d durations: want %d and %d", spans, n, test.spans, test.durations)
			}
		}
		// With neither, the path of a call is what it is without us.
		to.observe(t, client, surecallotel.WithoutSpans(), surecallotel.WithoutDurations())
		if n := testing.AllocsPerRun(100, func() {
			if ctx, o := client.Observer().Call(t.Context(), "orders", "/"+getName); o != nil || ctx != t.Context() {
				t.Error("a call is observed for nothing")
			}
		}); n != 0 {
			t.Errorf("%v allocations for nothing", n)
		}
	})
}
