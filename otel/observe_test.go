package surecallotel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
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
		stop()
		stop()
		calls(1)
		check("stopped", 0, 3)
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

// Whatever comes to a stream's end, its spans have ended by then.
func TestStreams(t *testing.T) {
	watch := func(ctx context.Context, client *surecall.Client) (orders.Orders_WatchClient, error) {
		return orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "7"})
	}
	for _, test := range []struct {
		name     string
		do       func(context.Context, *testing.T, *surecalltest.Cluster, *surecall.Client)
		code     string
		attempts int
	}{
		{"left by its caller", func(ctx context.Context, t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) {
			ctx, cancel := context.WithCancel(ctx)
			s, err := watch(ctx, client)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
			cancel()
		}, "CANCELLED", 1},
		{"left before anything came", func(ctx context.Context, t *testing.T, c *surecalltest.Cluster, client *surecall.Client) {
			c.Instance(0).Delay(time.Hour)
			c.Instance(1).Delay(time.Hour)
			ctx, cancel := context.WithCancel(ctx)
			if _, err := watch(ctx, client); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			cancel()
		}, "CANCELLED", 1},
		{"instance killed", func(ctx context.Context, t *testing.T, c *surecalltest.Cluster, client *surecall.Client) {
			s, err := watch(ctx, client)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = s.Recv(); err == nil {
				c.Instance(0).Kill()
				c.Instance(1).Kill()
				_, err = s.Recv()
			}
			if err == nil || err == io.EOF {
				t.Error(err)
			}
		}, "UNAVAILABLE", 1},
		{"retried, then received from", func(ctx context.Context, t *testing.T, c *surecalltest.Cluster, client *surecall.Client) {
			failFirst(c)
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s, err := watch(ctx, client)
			if err == nil {
				_, err = s.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "CANCELLED", 2},
		{"sent, and answered", func(ctx context.Context, t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) {
			s, err := orders.NewOrdersClient(client).Import(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := s.Send(&orders.PlaceRequest{Item: "tea"}); err != nil {
					t.Fatal(err)
				}
			}
			if r, err := s.CloseAndRecv(); err != nil || r.GetCount() != 3 {
				t.Error(r, err)
			}
		}, "OK", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster, to := surecalltest.NewCluster(t, 2), newTelemetry(sdktrace.AlwaysSample())
				client := cluster.Client()
				if err := client.WaitReady(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				to.observe(t, client)
				test.do(t.Context(), t, cluster, client)
				synctest.Wait()
				spans := to.ended(t)
				if len(spans) != 1+test.attempts {
					t.Fatalf("%d spans: want %d", len(spans), 1+test.attempts)
				}
				if code := attr(spans[0], "rpc.response.status_code"); code != test.code || isAttempt(spans[0]) {
					t.Errorf("%q ended with %q: want %q", spans[0].Name(), code, test.code)
				}
				for _, s := range spans[1:] {
					if !isAttempt(s) || s.Parent().SpanID() != spans[0].SpanContext().SpanID() || attr(s, "surecall.instance") == "" {
						t.Errorf("%q %v is no attempt of the call on an instance", s.Name(), s.Attributes())
					}
				}
				if n := to.count(t, "surecall.client.call.duration", "rpc.response.status_code", test.code); n != 1 {
					t.Errorf("%d durations: want 1", n)
				}
			})
		})
	}
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

// A program that makes method names up makes neither metrics nor spans grow without bound.
func TestMadeUpMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const made = 5000
		cluster, to := surecalltest.NewCluster(t, 1), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client()
		to.observe(t, client)
		for n := range made {
			_ = client.Invoke(t.Context(), fmt.Sprintf("/made.Up/M%d", n), &orders.GetRequest{}, &orders.Order{})
		}
		if n := to.points(t, "surecall.client.call.duration"); n != surecallotel.MaxMethods+1 {
			t.Errorf("durations of %d methods: want %d and all others", n, surecallotel.MaxMethods)
		}
		if n := to.count(t, "surecall.client.call.duration", "rpc.method", "_OTHER"); n != made-surecallotel.MaxMethods {
			t.Errorf("%d calls of other methods: want %d", n, made-surecallotel.MaxMethods)
		}
		if n := to.points(t, "surecall.client.calls"); n == 0 || n > 4096 {
			t.Errorf("%d series of calls: want some, and 4096 at most", n)
		}
		if n := to.sum(t, "surecall.client.calls"); n != made {
			t.Errorf("they add up to %v: want %d", n, made)
		}
		names := map[string]bool{}
		var last string
		for _, s := range to.ended(t) {
			if names[s.Name()] = true; !isAttempt(s) {
				last = s.Name() + " " + attr(s, "rpc.method") + " " + attr(s, "rpc.method_original")
			}
		}
		if len(names) != 2*(surecallotel.MaxMethods+1) {
			t.Errorf("%d names of spans: want %d", len(names), 2*(surecallotel.MaxMethods+1))
		}
		if last != "grpc _OTHER made.Up/M4999" {
			t.Errorf("the last is %q", last)
		}
	})
}

// What is wrong is said at once, all of it.
func TestOptionErrors(t *testing.T) {
	_, err := surecallotel.NewObserver(nil, surecallotel.WithMeterProvider(nil), surecallotel.WithTracerProvider(nil),
		surecallotel.WithPropagator(nil), surecallotel.WithAttributes(attribute.KeyValue{}))
	for _, want := range []string{"option 0 is nil", "WithMeterProvider(nil)", "WithTracerProvider(nil)", "WithPropagator(nil)", `WithAttributes: ""`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q in it", err, want)
		}
	}
	if _, err := surecallotel.Observe(nil); err == nil {
		t.Error("a client that is nil may be observed")
	}
	if _, err := surecallotel.LifecycleEvents(nil); err == nil {
		t.Error("an option that is nil may be given")
	}
}

// The steps of a server's start and leaving are counted by how they ended.
func TestLifecycleEvents(t *testing.T) {
	to := newTelemetry(sdktrace.AlwaysSample())
	handle, err := surecallotel.LifecycleEvents(to.options()...)
	if err != nil {
		t.Fatal(err)
	}
	handle(event.LifecycleStep{Service: "orders", Step: "deregister", Took: time.Second})
	handle(event.LifecycleStep{Service: "orders", Step: "deregister", Took: 3 * time.Second, Err: errors.New("no leader")})
	handle(event.InstanceAdded{Service: "orders"})
	for outcome, want := range map[string]uint64{"ok": 1, "error": 1} {
		if n := to.count(t, "surecall.server.lifecycle.step", "surecall.service", "orders", "surecall.step", "deregister", "surecall.outcome", outcome); n != want {
			t.Errorf("%d steps ended %s: want %d", n, outcome, want)
		}
	}
}
