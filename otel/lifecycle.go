package surecallotel

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// LifecycleEvents returns a handler for lifecycle.Config.Events that measures the steps of
// a server's start and of its leaving; [event.Tee] has others told too. Other events do
// nothing. Only WithMeterProvider and WithAttributes matter to it.
func LifecycleEvents(opts ...Option) (event.Handler, error) {
	const name = "surecall.server.lifecycle.step"
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	steps, err := c.meter().Float64Histogram(name, metric.WithUnit("s"),
		metric.WithDescription("Duration of the steps of a server's start and of its leaving."),
		metric.WithExplicitBucketBoundaries(.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120))
	if err != nil {
		return nil, fmt.Errorf("surecallotel: %s: %w", name, err)
	}
	return func(e event.Event) {
		step, ok := e.(event.LifecycleStep)
		if !ok {
			return
		}
		outcome := "ok"
		if step.Err != nil {
			outcome = "error"
		}
		attrs := append([]attribute.KeyValue{
			attribute.String(status.AttrService, step.Service),
			attrStep.String(step.Step), attrOutcome.String(outcome),
		}, c.attributes...)
		steps.Record(context.Background(), step.Took.Seconds(), metric.WithAttributes(attrs...))
	}, nil
}

// The attributes of lifecycle steps.
const (
	attrStep    = attribute.Key("surecall.step")
	attrOutcome = attribute.Key("surecall.outcome")
)
