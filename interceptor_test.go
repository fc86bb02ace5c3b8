package surecall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/endpoint"
)

// stubCC is gRPC as the LB policy sees it: every connection is there at once.
type stubCC struct {
	balancer.ClientConn
	ready  []func()
	picker balancer.Picker
}

type stubConn struct {
	balancer.SubConn
	cc       *stubCC
	listener func(balancer.SubConnState)
}

func (c *stubCC) NewSubConn(_ []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	return &stubConn{cc: c, listener: opts.StateListener}, nil
}

func (c *stubCC) UpdateState(s balancer.State) { c.picker = s.Picker }

func (sc *stubConn) Connect() {
	sc.cc.ready = append(sc.cc.ready, func() { sc.listener(balancer.SubConnState{ConnectivityState: connectivity.Ready}) })
}

func (*stubConn) Shutdown() {}

// GetOrBuildProducer makes a producer that can call nobody.
func (sc *stubConn) GetOrBuildProducer(b balancer.ProducerBuilder) (balancer.Producer, func()) {
	return b.Build(nil)
}

// newStub returns a core whose policy has n connections, and the policy's picker.
func newStub(tb testing.TB, n int) (*core, balancer.Picker) {
	tb.Helper()
	c, _, _, err := newCore("passthrough:///orders", []Option{WithInsecure(), WithoutHealthWatch()})
	if err != nil {
		tb.Fatal(err)
	}
	var config struct {
		LoadBalancingConfig []map[string]json.RawMessage `json:"loadBalancingConfig"`
	}
	if err := json.Unmarshal([]byte(c.fleet.ServiceConfig()), &config); err != nil {
		tb.Fatal(err)
	}
	builder := balancer.Get("surecall")
	parsed, err := builder.(interface {
		ParseConfig(json.RawMessage) (serviceconfig.LoadBalancingConfig, error)
	}).ParseConfig(config.LoadBalancingConfig[0]["surecall"])
	if err != nil {
		tb.Fatal(err)
	}
	cc := &stubCC{}
	lb := builder.Build(cc, balancer.BuildOptions{})
	tb.Cleanup(lb.Close)
	var endpoints []resolver.Endpoint
	for i := range n {
		address := fmt.Sprintf("10.0.0.%d:80", i+1)
		endpoints = append(endpoints, endpoint.New(discovery.Instance{ID: address, Address: address, Weight: 1}, false))
	}
	if err := lb.UpdateClientConnState(balancer.ClientConnState{ResolverState: resolver.State{Endpoints: endpoints}, BalancerConfig: parsed}); err != nil {
		tb.Fatal(err)
	}
	for len(cc.ready) > 0 {
		next := cc.ready[0]
		cc.ready = cc.ready[1:]
		next()
	}
	return c, cc.picker
}

// answering is an invoker that picks, as gRPC does, and has its answer at once.
func answering(tb testing.TB, picker balancer.Picker) grpc.UnaryInvoker {
	return func(ctx context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		r, err := picker.Pick(balancer.PickInfo{FullMethodName: method, Ctx: ctx})
		if err != nil {
			tb.Error(err)
			return err
		}
		r.Done(balancer.DoneInfo{BytesSent: true, BytesReceived: true})
		return nil
	}
}

var errUnavailable = status.Error(codes.Unavailable, "connection reset")

// BenchmarkInterceptor is all that surecall adds to a call: the fused interceptor with
// one pick, the verdict and what is learned. gRPC itself is left out.
func BenchmarkInterceptor(b *testing.B) {
	c, picker := newStub(b, 10)
	if err := c.update([]LiveOption{WithIdempotent("/x.Y/Get")}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	invoker := answering(b, picker)
	for _, part := range []struct{ name, method string }{{"plain method", "/x.Y/Place"}, {"idempotent", "/x.Y/Get"}} {
		b.Run(part.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = c.unary(ctx, part.method, nil, nil, nil, invoker)
			}
		})
		b.Run(part.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = c.unary(ctx, part.method, nil, nil, nil, invoker)
				}
			})
		})
	}
}

// An error of gRPC's Done is not what an instance is judged by: gRPC reports success
// there for an RPC that ended between its headers and its message, and only the caller
// is told.
func TestVerdictComesFromTheCallersError(t *testing.T) {
	c, picker := newStub(t, 1)
	failing := func(ctx context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		_ = answering(t, picker)(ctx, method, nil, nil, nil)
		return errUnavailable
	}
	for range 3 {
		if err := c.unary(t.Context(), "/x.Y/Place", nil, nil, nil, failing); !errors.Is(err, errUnavailable) || err.Error() != errUnavailable.Error() || status.Code(err) != codes.Unavailable {
			t.Errorf("error %v: want the server's", err)
		}
	}
	if counts := c.fleet.Status()[0].Breaker; counts.Run != 3 || counts.Failures != 3 {
		t.Errorf("breaker %+v: want a run of 3 failures", counts)
	}
	if err := c.unary(t.Context(), "/x.Y/Place", nil, nil, nil, answering(t, picker)); err != nil {
		t.Error(err)
	}
	if counts := c.fleet.Status()[0].Breaker; counts.Run != 0 || counts.Requests != 4 {
		t.Errorf("breaker %+v: want the run ended", counts)
	}
}

// A pick whose connection was gone never happened: nobody is judged, and nobody tried.
func TestPickThatNeverHappened(t *testing.T) {
	c, picker := newStub(t, 1)
	err := c.unary(t.Context(), "/x.Y/Place", nil, nil, nil,
		func(ctx context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			for range 3 {
				r, err := picker.Pick(balancer.PickInfo{FullMethodName: method, Ctx: ctx})
				if err != nil {
					return err
				}
				r.Done(balancer.DoneInfo{})
			}
			return answering(t, picker)(ctx, method, nil, nil, nil)
		})
	if err != nil {
		t.Error(err)
	}
	if s := c.fleet.Status()[0]; s.InFlight != 0 || s.Breaker.Requests != 1 || s.Breaker.Failures != 0 {
		t.Errorf("status %+v: want one success, and nothing in flight", s)
	}
}

// gRPC picks again for an attempt whose stream was not processed (a transparent retry):
// the first pick is released, and another instance chosen.
func TestTransparentRetry(t *testing.T) {
	c, picker := newStub(t, 3)
	err := c.unary(t.Context(), "/x.Y/Place", nil, nil, nil,
		func(ctx context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			first, err := picker.Pick(balancer.PickInfo{FullMethodName: method, Ctx: ctx})
			if err != nil {
				return err
			}
			first.Done(balancer.DoneInfo{Err: errUnavailable})
			second, err := picker.Pick(balancer.PickInfo{FullMethodName: method, Ctx: ctx})
			if err != nil {
				return err
			}
			if first.SubConn == second.SubConn {
				t.Error("picked the same instance again while others are eligible")
			}
			second.Done(balancer.DoneInfo{BytesSent: true})
			return nil
		})
	if err != nil {
		t.Error(err)
	}
	requests := 0
	for _, s := range c.fleet.Status() {
		requests += s.Breaker.Requests
		if s.InFlight != 0 || s.Breaker.Failures != 0 {
			t.Errorf("status %+v: want nothing in flight, no failure", s)
		}
	}
	if requests != 1 {
		t.Errorf("%d attempts judged: want the second only", requests)
	}
}
