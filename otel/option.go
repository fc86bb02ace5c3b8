package surecallotel

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Option is one choice for [Observe], [NewObserver] or [LifecycleEvents]. Of several of
// the same kind the last one wins, but for WithAttributes, whose attributes add up.
type Option interface{ apply(*config) }

// WithMeterProvider has the metrics go to p. By default they go to the global one.
func WithMeterProvider(p metric.MeterProvider) Option {
	return option(func(c *config) { c.meters = p })
}

// WithTracerProvider has the spans go to p. By default they go to the global one.
func WithTracerProvider(p trace.TracerProvider) Option {
	return option(func(c *config) { c.tracers = p })
}

// WithPropagator has p tell the server of the attempt's span. By default the global one
// does, which tells nothing until otel.SetTextMapPropagator was called.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return option(func(c *config) { c.propagator = p })
}

// WithAttributes puts attrs on all metrics and on all spans of calls. Two clients of one
// service need it, if both are observed in one process: the values of their counters are
// added up, but of their gauges only one is exported. [status.AttrClient] is a key for it.
//
// [status.AttrClient]: https://pkg.go.dev/github.com/surecall/surecall/status#AttrClient
func WithAttributes(attrs ...attribute.KeyValue) Option {
	return option(func(c *config) { c.attributes = append(c.attributes, attrs...) })
}

// WithInstances has the metrics of each instance exported, which by default are not: a
// series more of each with every new instance, or with every deploy where its ID changes.
func WithInstances() Option { return option(func(c *config) { c.instances = true }) }

// WithoutDurations leaves the histogram of the calls' durations out.
func WithoutDurations() Option { return option(func(c *config) { c.noDurations = true }) }

// WithoutSpans makes no spans, and tells the server of none.
func WithoutSpans() Option { return option(func(c *config) { c.noSpans = true }) }

// WithGRPCPlugin says that gRPC has an OpenTelemetry plugin of its own on this client, one
// that makes spans: the plugin then makes the client spans and tells the server of them.
// The spans of surecall become INTERNAL ones around it. See the package documentation.
func WithGRPCPlugin() Option { return option(func(c *config) { c.plugin = true }) }

type option func(*config)

func (f option) apply(c *config) { f(c) }

// config is everything options say.
type config struct {
	meters      metric.MeterProvider
	tracers     trace.TracerProvider
	propagator  propagation.TextMapPropagator
	attributes  []attribute.KeyValue
	instances   bool
	noDurations bool
	noSpans     bool
	plugin      bool
}

// newConfig returns what opts say, or everything that is wrong with them, joined.
func newConfig(opts []Option) (*config, error) {
	c := &config{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider(), propagator: otel.GetTextMapPropagator()}
	var errs []error
	for n, o := range opts {
		if o == nil {
			errs = append(errs, fmt.Errorf("surecallotel: option %d is nil", n))
			continue
		}
		o.apply(c)
	}
	if c.meters == nil {
		errs = append(errs, errors.New("surecallotel: WithMeterProvider(nil): want one; noop.NewMeterProvider() for no metrics"))
	}
	if c.tracers == nil {
		errs = append(errs, errors.New("surecallotel: WithTracerProvider(nil): want one, or WithoutSpans()"))
	}
	if c.propagator == nil {
		errs = append(errs, errors.New("surecallotel: WithPropagator(nil): want one; propagation.NewCompositeTextMapPropagator() tells nothing"))
	}
	for _, a := range c.attributes {
		if !a.Valid() {
			errs = append(errs, fmt.Errorf("surecallotel: WithAttributes: %q: want a key and a value", a.Key))
		}
	}
	return c, errors.Join(errs...)
}
