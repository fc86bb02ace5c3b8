package surecallotel_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// span is what a test expects of one: all of attrs, in which a value of "*" is any, and
// "-" none.
type span struct {
	name   string
	status codes.Code
	attrs  map[string]string
}

type attrs = map[string]string

func call(status codes.Code, a attrs) span    { return span{getName, status, a} }
func attempt(status codes.Code, a attrs) span { return span{"attempt " + getName, status, a} }

// What becomes of a call is seen in its spans: those of its attempts are its children and
// have ended when it has.
func TestSpans(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name    string
		options []surecall.Option
		fault   func(*surecalltest.Cluster)
		do      func(context.Context, *surecall.Client) error
		want    []span
	}{
		{
			name: "first attempt",
			want: []span{
				call(codes.Unset, attrs{
					"rpc.system.name": "grpc", "rpc.method": getName, "server.address": "orders", "surecall.service": "orders",
					"rpc.response.status_code": "OK", "error.type": "-", "surecall.call.attempts": "1", "surecall.call.waited": "-",
					"surecall.by": "-", "surecall.reason": "-",
				}),
				attempt(codes.Unset, attrs{
					"surecall.attempt.number": "1", "surecall.attempt.hedge": "false", "surecall.instance": "orders-1",
					"server.address": "10.0.0.1", "server.port": "80", "surecall.attempt.verdict": "success",
					"surecall.attempt.executed": "true", "surecall.attempt.cut_off": "-", "surecall.attempt.queued": "-",
					"rpc.response.status_code": "OK", "error.type": "-", "rpc.method": "-", "rpc.system.name": "-",
				}),
			},
		},
		{
			name:  "the server's error",
			fault: func(c *surecalltest.Cluster) { c.Instance(0).Fail(grpccodes.NotFound) },
			want: []span{
				call(codes.Error, attrs{"rpc.response.status_code": "NOT_FOUND", "error.type": "NOT_FOUND", "surecall.reason": "-"}),
				attempt(codes.Error, attrs{"rpc.response.status_code": "NOT_FOUND", "error.type": "NOT_FOUND", "surecall.attempt.verdict": "success"}),
			},
		},
		{
			name:  "retried",
			fault: failFirst,
			want: []span{
				call(codes.Unset, attrs{"rpc.response.status_code": "OK", "surecall.call.attempts": "2"}),
				attempt(codes.Error, attrs{"surecall.attempt.number": "1", "error.type": "UNAVAILABLE", "surecall.attempt.verdict": "failure", "surecall.instance": "*"}),
				attempt(codes.Unset, attrs{"surecall.attempt.number": "2", "surecall.attempt.hedge": "false", "rpc.response.status_code": "OK", "surecall.attempt.verdict": "success"}),
			},
		},
		{
			name:    "may not be retried",
			options: []surecall.Option{surecall.WithNotIdempotent("/" + getName)},
			fault:   failFirst,
			want: []span{
				call(codes.Error, attrs{"surecall.call.denied": "not idempotent", "error.type": "UNAVAILABLE", "surecall.call.attempts": "1"}),
				attempt(codes.Error, attrs{"surecall.attempt.executed": "true"}),
			},
		},
		{
			name:    "hedge wins",
			options: []surecall.Option{surecall.WithHedge(retry.Hedge{Delay: 10 * ms})},
			fault: func(c *surecalltest.Cluster) {
				c.Add()
				slowFirst(c, 80*ms)
			},
			want: []span{
				call(codes.Unset, attrs{"surecall.call.attempts": "2"}),
				attempt(codes.Unset, attrs{"surecall.attempt.hedge": "false", "surecall.attempt.cut_off": "true", "surecall.attempt.verdict": "ignored", "rpc.response.status_code": "CANCELLED", "error.type": "-"}),
				attempt(codes.Unset, attrs{"surecall.attempt.number": "2", "surecall.attempt.hedge": "true", "rpc.response.status_code": "OK"}),
			},
		},
		{
			name:  "cancelled by the caller",
			fault: func(c *surecalltest.Cluster) { c.Instance(0).Delay(time.Hour) },
			do: func(ctx context.Context, client *surecall.Client) error {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(20*ms, cancel)
				return get(ctx, client)
			},
			want: []span{
				call(codes.Error, attrs{"rpc.response.status_code": "CANCELLED", "error.type": "CANCELLED"}),
				attempt(codes.Error, attrs{"rpc.response.status_code": "CANCELLED", "surecall.attempt.verdict": "ignored"}),
			},
		},
		{
			name:    "out of time",
			options: []surecall.Option{surecall.WithCallDeadline(50 * ms), surecall.WithoutRetry()},
			fault:   func(c *surecalltest.Cluster) { c.Instance(0).Delay(time.Hour) },
			want: []span{
				call(codes.Error, attrs{"error.type": "DEADLINE_EXCEEDED"}),
				attempt(codes.Error, attrs{"error.type": "DEADLINE_EXCEEDED", "surecall.instance": "orders-1"}),
			},
		},
		{
			name:  "never got an instance",
			fault: func(c *surecalltest.Cluster) { c.Instance(0).Kill(); synctest.Wait() },
			want: []span{
				call(codes.Error, attrs{"error.type": "UNAVAILABLE", "surecall.reason": "no instance"}),
				attempt(codes.Error, attrs{"surecall.instance": "-", "server.address": "-", "surecall.attempt.verdict": "ignored", "surecall.attempt.executed": "false"}),
			},
		},
		{
			name:    "rejected before any attempt",
			options: []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: .001, Burst: 1})},
			do: func(ctx context.Context, client *surecall.Client) error {
				return errors.Join(get(ctx, client), get(ctx, client))
			},
			want: []span{
				call(codes.Unset, nil), attempt(codes.Unset, nil),
				call(codes.Error, attrs{"surecall.reason": "rate limit", "error.type": "RESOURCE_EXHAUSTED", "surecall.call.attempts": "0"}),
			},
		},
		{
			name:    "waited for a rate",
			options: []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: 10, Burst: 1, Wait: true})},
			do: func(ctx context.Context, client *surecall.Client) error {
				return errors.Join(get(ctx, client), get(ctx, client))
			},
			want: []span{
				call(codes.Unset, attrs{"surecall.call.waited": "-"}), attempt(codes.Unset, nil),
				call(codes.Unset, attrs{"surecall.call.waited": "*"}), attempt(codes.Unset, attrs{"surecall.attempt.queued": "-"}),
			},
		},
		{
			name: "second best",
			options: []surecall.Option{surecall.ForMethod("/"+getName, surecall.WithFallback(func(context.Context, *orders.GetRequest, error) (*orders.Order, error) {
				return &orders.Order{Id: "none"}, nil
			}))},
			fault: func(c *surecalltest.Cluster) { c.Instance(0).Fail(grpccodes.Internal) },
			want: []span{
				call(codes.Unset, attrs{"surecall.by": "fallback", "rpc.response.status_code": "OK", "surecall.call.attempts": "1"}),
				attempt(codes.Error, attrs{"error.type": "INTERNAL"}),
			},
		},
		{
			name:    "fresh cache",
			options: []surecall.Option{surecall.ForMethod("/"+getName, surecall.WithCache(surecall.CachePolicy{Fresh: time.Minute}))},
			do: func(ctx context.Context, client *surecall.Client) error {
				err := get(ctx, client)
				time.Sleep(2 * time.Second)
				return errors.Join(err, get(ctx, client))
			},
			want: []span{
				call(codes.Unset, attrs{"surecall.by": "-"}), attempt(codes.Unset, nil),
				call(codes.Unset, attrs{"surecall.by": "fresh cache", "surecall.call.age": "2", "surecall.call.attempts": "0"}),
			},
		},
		{
			name:    "waited for a slot",
			options: []surecall.Option{surecall.WithConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 10, Interval: time.Second}})},
			fault:   func(c *surecalltest.Cluster) { c.Instance(0).Delay(100 * ms) },
			do: func(ctx context.Context, client *surecall.Client) error {
				first := make(chan error, 1)
				go func() { first <- get(ctx, client) }()
				synctest.Wait()
				return errors.Join(get(ctx, client), <-first)
			},
			want: []span{
				call(codes.Unset, nil), attempt(codes.Unset, attrs{"surecall.attempt.queued": "-"}),
				call(codes.Unset, nil), attempt(codes.Unset, attrs{"surecall.attempt.queued": "0.1"}),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				to := newTelemetry(sdktrace.AlwaysSample())
				client := cluster.Client(test.options...)
				if err := client.WaitReady(t.Context()); err != nil {
					t.Fatal(err)
				}
				if test.fault != nil {
					test.fault(cluster)
				}
				synctest.Wait()
				to.observe(t, client)
				do := test.do
				if do == nil {
					do = get
				}
				err := do(t.Context(), client)
				synctest.Wait()
				to.compare(t, test.want, err)
				if n := to.count(t, "surecall.client.call.duration"); int(n) != count(test.want, getName) {
					t.Errorf("%d durations: want %d", n, count(test.want, getName))
				}
			})
		})
	}
}

func count(spans []span, name string) (n int) {
	for _, s := range spans {
		if s.name == name {
			n++
		}
	}
	return n
}

// failFirst adds an instance and has the first attempt of all fail.
func failFirst(c *surecalltest.Cluster) {
	c.Add()
	for _, i := range c.Instances() {
		i.FailFunc(func(string, int64) error {
			if c.Calls() <= 1 {
				return grpcstatus.Error(grpccodes.Unavailable, "overheated")
			}
			return nil
		})
	}
}

// slowFirst has the first attempt of all take d.
func slowFirst(c *surecalltest.Cluster, d time.Duration) {
	for _, i := range c.Instances() {
		i.DelayFunc(func(string, int64) time.Duration {
			if c.Calls() <= 1 {
				return d
			}
			return 0
		})
	}
}

// compare compares what was recorded, by the order in which it began, with want.
func (t *telemetry) compare(tb testing.TB, want []span, err error) {
	tb.Helper()
	got := t.ended(tb)
	if len(got) != len(want) {
		tb.Errorf("%d spans: want %d; the call: %v", len(got), len(want), err)
		for _, s := range got {
			tb.Logf("%s %v %v", s.Name(), s.Status(), s.Attributes())
		}
		return
	}
	var parent trace.SpanContext
	for n, s := range got {
		w := want[n]
		if s.Name() != w.name || s.Status().Code != w.status || s.SpanKind() != trace.SpanKindClient {
			tb.Errorf("span %d is %q, %v, %v: want %q, %v; %v", n, s.Name(), s.Status(), s.SpanKind(), w.name, w.status, s.Attributes())
		}
		for key, value := range w.attrs {
			switch got := attr(s, key); {
			case value == "*" && got == "", value == "-" && got != "", value != "*" && value != "-" && got != value:
				tb.Errorf("span %d, %q: %s is %q: want %q", n, s.Name(), key, got, value)
			}
		}
		if !isAttempt(s) {
			parent = s.SpanContext()
		} else if s.Parent().TraceID() != parent.TraceID() {
			tb.Errorf("span %d is of another trace", n)
		}
	}
	for _, s := range got {
		if isAttempt(s) && !slices.ContainsFunc(got, func(p sdktrace.ReadOnlySpan) bool {
			return !isAttempt(p) && p.SpanContext().SpanID() == s.Parent().SpanID() && !p.EndTime().Before(s.EndTime())
		}) {
			tb.Errorf("attempt %v has no call that ended after it", s.Attributes())
		}
	}
}

// The instance is told of its own attempt's span, and of no outer one.
func TestPropagation(t *testing.T) {
	for _, test := range []struct {
		name    string
		sampler sdktrace.Sampler
		flags   string
	}{
		{"sampled", sdktrace.AlwaysSample(), "01"}, {"not sampled", sdktrace.NeverSample(), "00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				heard := make(chan string, 2)
				cluster := surecalltest.NewCluster(t, 2, hear(heard))
				to := newTelemetry(test.sampler)
				client := cluster.Client()
				to.observe(t, client)
				ctx, outer := to.tracers.Tracer("test").Start(t.Context(), "outer")
				ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", "00-11111111111111111111111111111111-2222222222222222-01")
				if err := get(ctx, client); err != nil {
					t.Fatal(err)
				}
				outer.End()
				trace := outer.SpanContext().TraceID().String()
				var attempts, told []string
				for _, s := range to.ended(t) {
					if isAttempt(s) {
						attempts = append(attempts, s.SpanContext().SpanID().String())
					}
				}
				for n := range 2 {
					parts := strings.Split(<-heard, "-")
					if told = append(told, parts[min(2, len(parts)-1)]); len(parts) != 4 || parts[1] != trace || parts[3] != test.flags || test.flags == "01" && parts[2] != attempts[n] {
						t.Errorf("attempt %d was told %q: want %v of trace %s, flags %s", n+1, parts, attempts, trace, test.flags)
					}
				}
				if same := told[0] == told[1]; same != (test.flags == "00") {
					t.Errorf("the attempts were told %q: want each its own, or if nothing is sampled both the call's", told)
				}
			})
		})
	}
}

// A span of a call has what a sampler decides by, and the attributes of the client.
func TestSamplerSeesTheMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		sampler := &recordingSampler{}
		to := newTelemetry(sampler)
		client := cluster.Client()
		to.observe(t, client, surecallotel.WithAttributes(attribute.String("shop", "tea")))
		if err := get(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		if len(sampler.seen) == 0 {
			t.Fatal("asked for nothing")
		}
		wanted := attrs{"rpc.method": getName, "rpc.system.name": "grpc", "server.address": "orders", "shop": "tea"}
		for key, want := range wanted {
			if got := attrOf(sampler.seen[0].Attributes, key); got != want {
				t.Errorf("%s is %q: want %q", key, got, want)
			}
		}
	})
}

type recordingSampler struct{ seen []sdktrace.SamplingParameters }

func (s *recordingSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.seen = append(s.seen, p)
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (s *recordingSampler) Description() string { return "records" }

// hear has a server send the traceparents that it is told, and fail the first call.
func hear(to chan<- string) grpc.ServerOption {
	return grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		first := len(to) == 0
		to <- strings.Join(metadata.ValueFromIncomingContext(ctx, "traceparent"), " and ")
		if first {
			return nil, grpcstatus.Error(grpccodes.Unavailable, "overheated")
		}
		return handler(ctx, req)
	})
}
