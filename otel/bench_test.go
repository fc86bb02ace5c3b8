package surecallotel_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/surecalltest"
)

// BenchmarkCall is what a call of an idempotent method costs from caller to server and
// back, with what of OpenTelemetry. What is sampled is thrown away: exporters cost more.
func BenchmarkCall(b *testing.B) {
	cluster := surecalltest.NewCluster(b, 3)
	reader := sdkmetric.NewManualReader()
	meters := surecallotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	tracers := func(share float64) *sdktrace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.TraceIDRatioBased(share)), sdktrace.WithSpanProcessor(discard{}))
	}
	spans := func(share float64) surecallotel.Option { return surecallotel.WithTracerProvider(tracers(share)) }
	tell := surecallotel.WithPropagator(propagation.TraceContext{})
	plugin := surecall.WithDialOptions(grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(tracers(1)),
		otelgrpc.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
		otelgrpc.WithPropagators(propagation.TraceContext{}))))
	for _, part := range []struct {
		name   string
		client *surecall.Client
		with   []surecallotel.Option // nil: not observed
	}{
		{"nothing", cluster.Client(), nil},
		{"metrics", cluster.Client(), []surecallotel.Option{surecallotel.WithoutSpans(), surecallotel.WithoutDurations()}},
		{"durations too", cluster.Client(), []surecallotel.Option{surecallotel.WithoutSpans()}},
		{"spans, 0 % sampled", cluster.Client(), []surecallotel.Option{spans(0), tell}},
		{"spans, 1 % sampled", cluster.Client(), []surecallotel.Option{spans(.01), tell}},
		{"spans, 100 % sampled", cluster.Client(), []surecallotel.Option{spans(1), tell}},
		{"otelgrpc alone, 100 % sampled", cluster.Client(plugin), nil},
		{"spans beside otelgrpc, 100 % sampled", cluster.Client(plugin), []surecallotel.Option{spans(1), surecallotel.WithGRPCPlugin()}},
	} {
		b.Run(part.name, func(b *testing.B) {
			if part.with != nil {
				stop, err := surecallotel.Observe(part.client, append(part.with, meters)...)
				if err != nil {
					b.Fatal(err)
				}
				defer stop()
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			stub := orders.NewOrdersClient(part.client)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := stub.Get(ctx, &orders.GetRequest{Id: "7"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// discard is a span processor that has spans recorded and keeps none.
type discard struct{}

func (discard) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (discard) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (discard) Shutdown(context.Context) error                  { return nil }
func (discard) ForceFlush(context.Context) error                { return nil }

// BenchmarkCollect is what one collection of the metrics costs, which happens a few times a
// minute and not on the path of a call.
func BenchmarkCollect(b *testing.B) {
	reader := sdkmetric.NewManualReader()
	surecallotel.Export(b, everything, surecallotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))),
		surecallotel.WithInstances())
	var all metricdata.ResourceMetrics
	b.ReportAllocs()
	for b.Loop() {
		if err := reader.Collect(context.Background(), &all); err != nil {
			b.Fatal(err)
		}
	}
}
