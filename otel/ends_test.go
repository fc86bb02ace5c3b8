package surecallotel_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	grpccodes "google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/status"
	"github.com/surecall/surecall/surecalltest"
)

// A span lasts as long as what it is of: an attempt that has failed does not go on because
// the hedge beside it does, and a call is over with the last of its attempts.
func TestSpansLastAsLongAsTheirAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay, fails, answers = 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond
		cluster, to := surecalltest.NewCluster(t, 2), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client(surecall.WithHedge(retry.Hedge{Delay: delay}), surecall.WithoutAttemptTimeout())
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		var first atomic.Pointer[surecalltest.Instance]
		for _, i := range cluster.Instances() {
			i.DelayFunc(func(string, int64) time.Duration {
				if first.CompareAndSwap(nil, i) {
					return fails
				}
				return answers
			})
			i.FailFunc(func(string, int64) error {
				if first.Load() == i {
					return grpcstatus.Error(grpccodes.Unavailable, "overheated")
				}
				return nil
			})
		}
		to.observe(t, client)
		began := time.Now()
		if err := get(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		spans := to.ended(t)
		want := [][2]time.Duration{{0, delay + answers}, {0, fails}, {delay, delay + answers}}
		if len(spans) != len(want) {
			t.Fatalf("%d spans: want %d", len(spans), len(want))
		}
		for n, s := range spans {
			if got := [2]time.Duration{s.StartTime().Sub(began), s.EndTime().Sub(began)}; got != want[n] {
				t.Errorf("%q %v lasts from %v to %v: want %v", s.Name(), s.Attributes(), got[0], got[1], want[n])
			}
		}
	})
}

// An attempt of a stream that was refused when it was to be sent has a span that ends.
func TestStreamThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, to := surecalltest.NewCluster(t, 1), newTelemetry(sdktrace.AlwaysSample())
		client := cluster.Client()
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		cluster.Instance(0).FailFunc(func(string, int64) error {
			time.AfterFunc(time.Nanosecond, cluster.Instance(0).Kill) // before the next attempt
			return grpcstatus.Error(grpccodes.Unavailable, "overheated")
		})
		to.observe(t, client)
		s, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if err == nil {
			t.Fatal("no error")
		}
		spans := to.ended(t)
		if len(spans) != 3 || attr(spans[0], "surecall.call.attempts") != "2" {
			t.Fatalf("%d spans, the call's says %v: want 3, and 2 attempts", len(spans), spans[0].Attributes())
		}
		if last := spans[2]; attr(last, "surecall.instance") != "" || !strings.Contains(last.Status().Description, "no eligible instance") {
			t.Errorf("the last attempt: %v, %v: want no instance, and why", last.Attributes(), last.Status())
		}
	})
}

// What a server says of its error, and what a proxy is asked for, may be no text: exporters
// would lose the whole batch for it.
func TestWhatIsExportedIsText(t *testing.T) {
	to := newTelemetry(sdktrace.AlwaysSample())
	o, err := surecallotel.NewObserver(to.options()...)
	if err != nil {
		t.Fatal(err)
	}
	_, c := o.Call(t.Context(), "orders", "/orders.v1.Orders/\xe9")
	c.CallEnds(&surecall.CallTrace{Err: grpcstatus.Error(grpccodes.Internal, "caf\xe9")})
	surecallotel.Export(t, func() status.Status {
		return status.Status{Service: "orders", Methods: []status.Method{{Name: "/orders.v1.Orders/\xe9", Attempts: 3}}}
	}, to.options()...)
	const method = "orders.v1.Orders/\uFFFD"
	for _, s := range to.ended(t) {
		if s.Name() != method || attr(s, "rpc.method") != method || s.Status().Description != "caf\uFFFD" {
			t.Errorf("span %q, %v, %v: want text", s.Name(), s.Attributes(), s.Status())
		}
	}
	if n := to.count(t, "surecall.client.call.duration", "rpc.method", method); n != 1 {
		t.Errorf("%d durations of %q: want 1", n, method)
	}
	if n := to.sum(t, "surecall.client.attempts", "rpc.method", method); n != 3 {
		t.Errorf("%v attempts of %q: want 3", n, method)
	}
}

// A code that gRPC does not know is no success, and has no name of its own.
func TestUnknownCode(t *testing.T) {
	to := newTelemetry(sdktrace.AlwaysSample())
	o, err := surecallotel.NewObserver(to.options()...)
	if err != nil {
		t.Fatal(err)
	}
	_, c := o.Call(t.Context(), "orders", "/"+getName)
	c.CallEnds(&surecall.CallTrace{Err: grpcstatus.Error(grpccodes.Code(1000), "who knows")})
	if s := to.ended(t)[0]; attr(s, "rpc.response.status_code") != "UNKNOWN" || s.Status().Code != codes.Error {
		t.Errorf("%v, %v: want UNKNOWN", s.Attributes(), s.Status())
	}
	if n := to.count(t, "surecall.client.call.duration", "rpc.response.status_code", "UNKNOWN"); n != 1 {
		t.Errorf("%d durations: want 1", n)
	}
}
