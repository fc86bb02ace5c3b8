package surecallotel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/status"
)

// One line more, and a client's metrics and spans are made.
func ExampleObserve() {
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter() // yours send them somewhere
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))

	client, err := surecall.NewClient("static:///"+shop(), surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	stop, err := surecallotel.Observe(client, surecallotel.WithMeterProvider(meters), surecallotel.WithTracerProvider(tracers))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(err)
	for _, s := range spans.GetSpans() {
		fmt.Println(s.Name)
	}
	printMetric(reader, "surecall.client.calls")
	// Output:
	// <nil>
	// attempt orders.v1.Orders/Get
	// orders.v1.Orders/Get
	// surecall.client.calls{rpc.method, rpc.response.status_code, surecall.service} 1
}

// A framework that makes its connections by itself has spans and durations all the same.
func ExampleNewObserver() {
	spans := tracetest.NewInMemoryExporter()
	observer, err := surecallotel.NewObserver(surecallotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))))
	if err != nil {
		fmt.Println(err)
		return
	}
	target := "static:///" + shop()
	options, err := surecall.DialOptions(target, surecall.WithInsecure(), surecall.WithObserver(observer))
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	_, err = orders.NewOrdersClient(conn).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(len(spans.GetSpans()), err)
	// Output: 2 <nil>
}

// Of the second client of a service the metrics are told apart.
func ExampleWithAttributes() {
	reader := sdkmetric.NewManualReader()
	meters := surecallotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	second := surecallotel.WithAttributes(attribute.String(status.AttrClient, "2"))
	target := "static:///" + shop()
	for _, with := range [][]surecallotel.Option{{meters}, {meters, second}} {
		client, err := surecall.NewClient(target, surecall.WithInsecure())
		if err != nil {
			fmt.Println(err)
			return
		}
		defer client.Close()
		stop, err := surecallotel.Observe(client, with...)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer stop()
	}
	printMetric(reader, "surecall.client.in_flight")
	// Output:
	// surecall.client.in_flight{surecall.service} 0
	// surecall.client.in_flight{surecall.client, surecall.service} 0
}

// With otelgrpc on the same client, its spans are the client spans, and those of surecall
// say around them what became of the call.
func ExampleWithGRPCPlugin() {
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	plugin := otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(tracers))
	client, err := surecall.NewClient("static:///"+shop(), surecall.WithInsecure(), surecall.WithDialOptions(grpc.WithStatsHandler(plugin)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	stop, err := surecallotel.Observe(client, surecallotel.WithTracerProvider(tracers), surecallotel.WithGRPCPlugin())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(err)
	for _, s := range spans.GetSpans() {
		fmt.Println(s.SpanKind, s.Name)
	}
	// Output:
	// <nil>
	// client orders.v1.Orders/Get
	// internal attempt orders.v1.Orders/Get
	// internal orders.v1.Orders/Get
}

func ExampleLifecycleEvents() {
	reader := sdkmetric.NewManualReader()
	handle, err := surecallotel.LifecycleEvents(surecallotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	if err != nil {
		fmt.Println(err)
		return
	}
	// In a program: lifecycle.Config{Events: handle, …}, which then tells of each step.
	handle(event.LifecycleStep{Service: "orders", Step: "deregister", Took: 40 * time.Millisecond})
	handle(event.LifecycleStep{Service: "orders", Step: "graceful stop", Took: 3 * time.Second, Err: errors.New("2 calls were cut off")})
	printMetric(reader, "surecall.server.lifecycle.step")
	// Output:
	// surecall.server.lifecycle.step{surecall.outcome, surecall.service, surecall.step} 1
	// surecall.server.lifecycle.step{surecall.outcome, surecall.service, surecall.step} 1
}

// shop serves orders until the program ends, and returns where.
func shop() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err.Error()
	}
	server := grpc.NewServer()
	orders.RegisterOrdersServer(server, tea{})
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String()
}

type tea struct {
	orders.UnimplementedOrdersServer
}

func (tea) Get(_ context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return &orders.Order{Id: r.GetId(), Item: "tea"}, nil
}

// printMetric prints the series of a metric with the keys of their attributes.
func printMetric(reader *sdkmetric.ManualReader, name string) {
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		fmt.Println(err)
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		if m.Name != name {
			continue
		}
		var lines []string
		add := func(attrs attribute.Set, value any) {
			var keys []string
			for _, a := range attrs.ToSlice() {
				keys = append(keys, string(a.Key))
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v", name, strings.Join(keys, ", "), value))
		}
		switch data := m.Data.(type) {
		case metricdata.Sum[float64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, p.Value)
			}
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, p.Value)
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, p.Count)
			}
		}
		slices.Sort(lines)
		for _, line := range slices.Backward(lines) {
			fmt.Println(line)
		}
	}
}
