package surecallotel_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

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
