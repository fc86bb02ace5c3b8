package surecallotel

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/status"
)

// The attributes of spans that the semantic conventions have none for. Times are in seconds.
const (
	attrAttempts = attribute.Key("surecall.call.attempts")
	attrWaited   = attribute.Key("surecall.call.waited")
	attrAge      = attribute.Key("surecall.call.age")
	attrDenied   = attribute.Key("surecall.call.denied")
	attrNumber   = attribute.Key("surecall.attempt.number")
	attrHedge    = attribute.Key("surecall.attempt.hedge")
	attrQueued   = attribute.Key("surecall.attempt.queued")
	attrVerdict  = attribute.Key("surecall.attempt.verdict")
	attrExecuted = attribute.Key("surecall.attempt.executed")
	attrCutOff   = attribute.Key("surecall.attempt.cut_off")
)

// spans makes the spans.
type spans struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator // nil: gRPC's plugin tells the server
}

func newSpans(c *config) *spans {
	s := &spans{tracer: c.tracer(), propagator: c.propagator}
	if c.plugin {
		s.propagator = nil
	}
	return s
}

// begin begins the span of a call of m.
func (s *spans) begin(ctx context.Context, m *method) (context.Context, trace.Span) {
	return s.tracer.Start(ctx, m.name, m.begin...)
}

// beginAttempt begins the span of an attempt of c, and has the server told of it. If the
// call is not sampled, it has none of its own: the server is told of the call.
func (s *spans) beginAttempt(ctx context.Context, c *call, number int, hedge bool) context.Context {
	if c.records {
		var span trace.Span
		ctx, span = s.tracer.Start(ctx, "attempt "+c.method.name, c.method.attempt...)
		span.SetAttributes(attrNumber.Int(number), attrHedge.Bool(hedge))
	}
	if s.propagator == nil {
		return ctx
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if md == nil {
		md = metadata.MD{}
	}
	s.propagator.Inject(ctx, carrier{md})
	return metadata.NewOutgoingContext(ctx, md)
}

// carrier is the metadata of an attempt. What it has of an outer span is replaced.
type carrier struct{ md metadata.MD }

func (c carrier) Get(key string) string {
	if values := c.md.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c carrier) Set(key, value string) { c.md.Set(key, value) }

func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c.md))
	for k := range c.md {
		keys = append(keys, k)
	}
	return keys
}

// endAttempt ends the span of an attempt.
func endAttempt(span trace.Span, a *surecall.AttemptTrace) {
	attrs := append(make([]attribute.KeyValue, 0, 9), attrVerdict.String(a.Verdict.String()), attrExecuted.Bool(a.Executed))
	if a.Instance != "" {
		attrs = append(attrs, attribute.String(status.AttrInstance, a.Instance))
		attrs = appendAddress(attrs, a.Address)
	}
	if a.Queued > 0 {
		attrs = append(attrs, attrQueued.Float64(a.Queued.Seconds()))
	}
	if a.CutOff {
		attrs = append(attrs, attrCutOff.Bool(true))
	}
	s := grpcstatus.Convert(a.Err)
	outrun := a.CutOff && codeOf(s) == grpccodes.Canceled
	finish(span, attrs, s, !outrun) // that another was faster is no fault
}

// end ends the span of a call, whose error is s.
func end(span trace.Span, t *surecall.CallTrace, s *grpcstatus.Status) {
	attrs := append(make([]attribute.KeyValue, 0, 8), attrAttempts.Int(len(t.Attempts)))
	if t.Waited > 0 {
		attrs = append(attrs, attrWaited.Float64(t.Waited.Seconds()))
	}
	if t.SecondBest != "" {
		attrs = append(attrs, attribute.String(status.AttrBy, string(t.SecondBest)))
	}
	if t.Age > 0 {
		attrs = append(attrs, attrAge.Float64(t.Age.Seconds()))
	}
	if t.Denied != "" {
		attrs = append(attrs, attrDenied.String(string(t.Denied)))
	}
	var rejection *surecall.Rejection
	if t.Err != nil && errors.As(t.Err, &rejection) && rejection.Reason != nil {
		reason := strings.TrimPrefix(rejection.Reason.Error(), "surecall: ") // as the metric has it
		attrs = append(attrs, attribute.String(status.AttrReason, reason))
	}
	finish(span, attrs, s, true)
}

// finish ends a span as the semantic conventions say of a client's: every code but OK is an
// error.
func finish(span trace.Span, attrs []attribute.KeyValue, s *grpcstatus.Status, fault bool) {
	code := codeNames[codeOf(s)]
	attrs = append(attrs, semconv.RPCResponseStatusCode(code))
	if s.Code() != grpccodes.OK && fault {
		attrs = append(attrs, semconv.ErrorTypeKey.String(code))
		span.SetStatus(codes.Error, text(s.Message()))
	}
	span.SetAttributes(attrs...)
	span.End()
}

// text is s, as exporters take it: for one string that is not UTF-8 they lose all that they
// would send with it. What servers send, and proxies are asked for, may be anything.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// appendAddress appends an instance's address: a host and its port, or a socket.
func appendAddress(attrs []attribute.KeyValue, address string) []attribute.KeyValue {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return append(attrs, semconv.ServerAddress(address))
	}
	attrs = append(attrs, semconv.ServerAddress(host))
	if port, err := strconv.Atoi(text); err == nil {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return attrs
}
