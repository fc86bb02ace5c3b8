package surecallotel_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	surecallotel "github.com/surecall/surecall/otel"
)

const (
	getName   = "orders.v1.Orders/Get"
	placeName = "orders.v1.Orders/Place"
	watchName = "orders.v1.Orders/Watch"
)

// telemetry is where a test's spans and metrics go.
type telemetry struct {
	spans   *tracetest.SpanRecorder
	reader  *sdkmetric.ManualReader
	tracers *sdktrace.TracerProvider
	meters  *sdkmetric.MeterProvider
}

func newTelemetry(sampler sdktrace.Sampler) *telemetry {
	t := &telemetry{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	t.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(t.spans), sdktrace.WithSampler(sampler))
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(t.reader))
	return t
}

// options send all there is to it.
func (t *telemetry) options(more ...surecallotel.Option) []surecallotel.Option {
	return append([]surecallotel.Option{
		surecallotel.WithTracerProvider(t.tracers), surecallotel.WithMeterProvider(t.meters),
		surecallotel.WithPropagator(propagation.TraceContext{}),
	}, more...)
}

// observe observes client with all, until the test ends or stop is called.
func (t *telemetry) observe(tb testing.TB, client *surecall.Client, more ...surecallotel.Option) (stop func()) {
	tb.Helper()
	stop, err := surecallotel.Observe(client, t.options(more...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return stop
}

// ended returns the spans in the order in which they began, each call followed by its
// attempts. It fails the test if one was begun and not ended.
func (t *telemetry) ended(tb testing.TB) (spans []sdktrace.ReadOnlySpan) {
	tb.Helper()
	ended, traces := map[trace.SpanID]sdktrace.ReadOnlySpan{}, map[trace.TraceID]int{}
	for _, s := range t.spans.Ended() {
		ended[s.SpanContext().SpanID()] = s
	}
	for n, begun := range t.spans.Started() {
		s := ended[begun.SpanContext().SpanID()]
		if s == nil {
			tb.Errorf("span %q %v has not ended", begun.Name(), begun.Attributes())
			continue
		}
		if id := s.SpanContext().TraceID(); traces[id] == 0 {
			traces[id] = n + 1
		}
		spans = append(spans, s)
	}
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int {
		return traces[a.SpanContext().TraceID()] - traces[b.SpanContext().TraceID()]
	})
	return spans
}

func isAttempt(s sdktrace.ReadOnlySpan) bool { return strings.HasPrefix(s.Name(), "attempt ") }

// attr returns the text of an attribute; empty: s has none of that key.
func attr(s sdktrace.ReadOnlySpan, key string) string { return attrOf(s.Attributes(), key) }

func attrOf(attrs []attribute.KeyValue, key string) string {
	for _, a := range attrs {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// metric returns what is exported under a name now, nil: nothing.
func (t *telemetry) metric(tb testing.TB, name string) metricdata.Aggregation {
	tb.Helper()
	var all metricdata.ResourceMetrics
	if err := t.reader.Collect(context.Background(), &all); err != nil {
		tb.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == name {
				return m.Data
			}
		}
	}
	return nil
}

// sum returns the sum of a counter's or a gauge's points that have all of attrs, which are
// keys and values in turn.
func (t *telemetry) sum(tb testing.TB, name string, attrs ...string) (sum float64) {
	tb.Helper()
	var points []metricdata.DataPoint[float64]
	switch data := t.metric(tb, name).(type) {
	case metricdata.Sum[float64]:
		points = data.DataPoints
	case metricdata.Gauge[float64]:
		points = data.DataPoints
	}
	for _, p := range points {
		if has(p.Attributes, attrs) {
			sum += p.Value
		}
	}
	return sum
}

// count returns how many values a histogram has had whose points have all of attrs.
func (t *telemetry) count(tb testing.TB, name string, attrs ...string) (n uint64) {
	tb.Helper()
	if data, ok := t.metric(tb, name).(metricdata.Histogram[float64]); ok {
		for _, p := range data.DataPoints {
			if has(p.Attributes, attrs) {
				n += p.Count
			}
		}
	}
	return n
}

func has(set attribute.Set, attrs []string) bool {
	for n := 0; n < len(attrs); n += 2 {
		if v, ok := set.Value(attribute.Key(attrs[n])); !ok || v.String() != attrs[n+1] {
			return false
		}
	}
	return true
}

func get(ctx context.Context, client *surecall.Client) error {
	_, err := orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: "7"})
	return err
}

// points is how many series a metric has.
func (t *telemetry) points(tb testing.TB, name string) int {
	tb.Helper()
	switch data := t.metric(tb, name).(type) {
	case metricdata.Sum[float64]:
		return len(data.DataPoints)
	case metricdata.Histogram[float64]:
		return len(data.DataPoints)
	}
	return 0
}
