package surecallotel_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/surecall/surecall/examples/orders"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/surecalltest"
)

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
