package surecallotel

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/surecall/surecall/status"
)

// source is what the metrics are read from: a *surecall.Client.
type source interface{ Status() status.Status }

// instrument is one line of the table of metrics, and where its values go.
type instrument struct {
	metric status.Metric
	to     metric.Float64Observable
}

// export registers the table of metrics: whenever somebody collects, one callback takes one
// status of the client and reads all of them from it, while live says so. The path of a call
// has no part in it.
func (c *config) export(client source, live func() bool) (unregister func(), err error) {
	meter := c.meter()
	var instruments []instrument
	var all []metric.Observable
	var errs []error
	for _, m := range status.Metrics() {
		if m.Instances && !c.instances {
			continue
		}
		to, err := newInstrument(meter, &m)
		if err != nil {
			errs = append(errs, fmt.Errorf("surecallotel: %s: %w", m.Name, err))
			continue
		}
		instruments, all = append(instruments, instrument{m, to}), append(all, to)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if !live() {
			return nil
		}
		s := client.Status()
		for i := range instruments {
			instruments[i].observe(o, &s, c.attributes)
		}
		return nil
	}, all...)
	if err != nil {
		return nil, fmt.Errorf("surecallotel: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // an error: there is nothing to end
}

func newInstrument(meter metric.Meter, m *status.Metric) (metric.Float64Observable, error) {
	unit, help := metric.WithUnit(m.Unit), metric.WithDescription(m.Help)
	if m.Counter {
		return meter.Float64ObservableCounter(m.Name, unit, help)
	}
	return meter.Float64ObservableGauge(m.Name, unit, help)
}

func (i *instrument) observe(o metric.Observer, s *status.Status, more []attribute.KeyValue) {
	i.metric.Each(s, func(value float64, values []string) {
		attrs := make([]attribute.KeyValue, 0, len(values)+len(more))
		for n, v := range values {
			attrs = append(attrs, attribute.String(i.metric.Attributes[n], text(v)))
		}
		o.ObserveFloat64(i.to, value, metric.WithAttributeSet(attribute.NewSet(append(attrs, more...)...)))
	})
}
