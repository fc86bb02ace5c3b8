package surecallotel

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall"
)

// observer is told of the calls, and makes their spans and durations.
type observer struct {
	methods   *methods
	spans     *spans     // nil: none
	durations *durations // nil: none
	stopped   atomic.Bool
}

func newObserver(c *config) (*observer, error) {
	o := &observer{methods: newMethods(c)}
	if !c.noSpans {
		o.spans = newSpans(c)
	}
	if !c.noDurations {
		d, err := newDurations(c)
		if err != nil {
			return nil, err
		}
		o.durations = d
	}
	return o, nil
}

// Call is surecall.Observer's.
func (o *observer) Call(ctx context.Context, service, method string) (context.Context, surecall.CallObserver) {
	if o.stopped.Load() || o.spans == nil && o.durations == nil {
		return ctx, nil
	}
	c := &call{observer: o, method: o.methods.find(service, method)}
	if o.spans != nil {
		ctx, c.span = o.spans.begin(ctx, c.method)
		c.records = c.span.IsRecording()
	}
	c.ctx = ctx
	return ctx, c
}

// call is one call. It is never changed after it has begun, so that a hedge may use it
// beside the attempt that takes long.
type call struct {
	observer *observer
	method   *method
	ctx      context.Context // of the call, which an exemplar of its duration is taken from
	span     trace.Span      // nil: none is made
	records  bool            // span is sampled, and so are those of its attempts
}

// Attempt is surecall.CallObserver's, as are the next two.
func (c *call) Attempt(ctx context.Context, number int, hedge bool) context.Context {
	if c.span == nil {
		return ctx
	}
	return c.observer.spans.beginAttempt(ctx, c, number, hedge)
}

// AttemptEnds ends the span that Attempt began.
func (c *call) AttemptEnds(ctx context.Context, a *surecall.AttemptTrace) {
	if c.records {
		endAttempt(trace.SpanFromContext(ctx), a)
	}
}

// CallEnds ends the span and counts the duration.
func (c *call) CallEnds(t *surecall.CallTrace) {
	s := grpcstatus.Convert(t.Err) // once: it makes the text of a rejection
	if d := c.observer.durations; d != nil {
		d.record(c.ctx, c.method, t.Took, codeOf(s))
	}
	if c.records {
		end(c.span, t, s)
	}
}
