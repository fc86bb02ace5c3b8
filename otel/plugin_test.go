package surecallotel_test

import (
	"maps"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	experimental "google.golang.org/grpc/experimental/opentelemetry"
	"google.golang.org/grpc/stats/opentelemetry"

	"github.com/surecall/surecall"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/surecalltest"
)

// With a plugin of gRPC's beside ours nothing is counted twice. Of a call that is retried
// once there are three spans of ours, none a client's, and around or below them the
// plugin's. The instance is told of the plugin's, which is a child of our attempt. No metric
// of the plugin's has the name of one of ours.
func TestBesidePlugins(t *testing.T) {
	const ours, attempt = "internal " + getName, "internal attempt " + getName
	otelgrpcs := func(to *telemetry) grpc.DialOption {
		return grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(to.tracers),
			otelgrpc.WithMeterProvider(to.meters), otelgrpc.WithPropagators(propagation.TraceContext{})))
	}
	grpcs := func(to *telemetry) grpc.DialOption {
		return opentelemetry.DialOption(opentelemetry.Options{
			MetricsOptions: opentelemetry.MetricsOptions{MeterProvider: to.meters},
			TraceOptions:   experimental.TraceOptions{TracerProvider: to.tracers, TextMapPropagator: propagation.TraceContext{}},
		})
	}
	for _, test := range []struct {
		name    string
		plugin  func(*telemetry) grpc.DialOption
		spans   map[string]int // kind and name, then those of the parent: how many
		told    string         // whose span the instance is told of
		metrics map[string]uint64
	}{
		{
			name: "otelgrpc", plugin: otelgrpcs, told: "client " + getName,
			spans:   map[string]int{ours: 1, attempt + " < " + ours: 2, "client " + getName + " < " + attempt: 2},
			metrics: map[string]uint64{"rpc.client.call.duration": 2, "surecall.client.call.duration": 1},
		},
		{
			name: "gRPC's own", plugin: grpcs, told: "internal Attempt.orders.v1.Orders.Get",
			spans: map[string]int{
				"client Sent.orders.v1.Orders.Get":                   1,
				ours + " < client Sent.orders.v1.Orders.Get":         1,
				attempt + " < " + ours:                               2,
				"internal Attempt.orders.v1.Orders.Get < " + attempt: 2,
			},
			metrics: map[string]uint64{"grpc.client.call.duration": 1, "grpc.client.attempt.duration": 2, "surecall.client.call.duration": 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			heard := make(chan string, 2)
			cluster := surecalltest.NewCluster(t, 2, hear(heard))
			to := newTelemetry(sdktrace.AlwaysSample())
			client := cluster.Client(surecall.WithDialOptions(test.plugin(to)))
			to.observe(t, client, surecallotel.WithGRPCPlugin())
			if err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			titles := map[string]string{"0000000000000000": ""}
			for _, s := range to.spans.Ended() {
				titles[s.SpanContext().SpanID().String()] = s.SpanKind().String() + " " + s.Name()
			}
			spans := map[string]int{}
			for _, s := range to.spans.Ended() {
				title := titles[s.SpanContext().SpanID().String()]
				if parent := titles[s.Parent().SpanID().String()]; parent != "" {
					title += " < " + parent
				}
				spans[title]++
			}
			if !maps.Equal(spans, test.spans) {
				t.Errorf("spans:\n got %v\nwant %v", spans, test.spans)
			}
			for range 2 {
				told := strings.Split(<-heard, "-")
				if len(told) != 4 || titles[told[2]] != test.told {
					t.Errorf("the instance was told of %q, %q: want %q", told, titles[told[2]], test.told)
				}
			}
			for name, n := range test.metrics {
				if got := to.count(t, name); got != n {
					t.Errorf("%s counts %d: want %d", name, got, n)
				}
			}
			if calls, attempts := to.sum(t, "surecall.client.calls"), to.sum(t, "surecall.client.attempts"); calls != 1 || attempts != 2 {
				t.Errorf("%v calls, %v attempts: want 1 and 2", calls, attempts)
			}
			to.clash(t)
		})
	}
}

// clash fails the test if two scopes export a metric of the same name.
func (t *telemetry) clash(tb testing.TB) {
	tb.Helper()
	var all metricdata.ResourceMetrics
	if err := t.reader.Collect(tb.Context(), &all); err != nil {
		tb.Fatal(err)
	}
	owner := map[string]string{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if other, taken := owner[m.Name]; taken {
				tb.Errorf("%s is of %s and of %s", m.Name, other, scope.Scope.Name)
			}
			owner[m.Name] = scope.Scope.Name
		}
	}
}
