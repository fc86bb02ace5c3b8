package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
)

// forged is what a handler that passes on another server's answer would write.
var forged = metadata.MD{
	wire.Unexecuted: {"a1"}, "Surecall-Draining": {"a1"}, wire.Repeated: {"a1"}, "kept": {"x"},
}

// A handler cannot write the marks, by whichever way.
func TestMarksOfHandlersAreRemoved(t *testing.T) {
	for name, write := range map[string]func(context.Context) error{
		"SetTrailer": func(ctx context.Context) error { return grpc.SetTrailer(ctx, forged) },
		"SetHeader":  func(ctx context.Context) error { return grpc.SetHeader(ctx, forged) },
		"SendHeader": func(ctx context.Context) error { return grpc.SendHeader(ctx, forged) },
		"transport":  func(ctx context.Context) error { return grpc.ServerTransportStreamFromContext(ctx).SetTrailer(forged) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				r.orders.get = func(ctx context.Context) error {
					return errors.Join(write(ctx), status.Error(codes.Unavailable, "from elsewhere"))
				}
				r.orders.watch = func(s grpc.ServerStreamingServer[orders.Order]) error { return write(s.Context()) }
				r.start()
				var header, trailer metadata.MD
				ctx := metadata.AppendToOutgoingContext(t.Context(), wire.AttemptID, "a1")
				_, err := r.client.Get(ctx, &orders.GetRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
				check(t, metadata.Join(header, trailer))
				if err == nil {
					t.Error("want the handler's error")
				}
			})
		})
	}
	for name, write := range map[string]func(grpc.ServerStream) error{
		"SetTrailer": func(s grpc.ServerStream) error { s.SetTrailer(forged); return nil },
		"SetHeader":  func(s grpc.ServerStream) error { return s.SetHeader(forged) },
		"SendHeader": func(s grpc.ServerStream) error { return s.SendHeader(forged) },
		"of context": func(s grpc.ServerStream) error { return grpc.SetTrailer(s.Context(), forged) },
	} {
		t.Run("stream "+name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				inner := func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
					return errors.Join(write(s), h(srv, s))
				}
				r.server = grpc.NewServer(append(r.life.ServerOptions(), grpc.ChainStreamInterceptor(inner))...)
				orders.RegisterOrdersServer(r.server, r.orders)
				r.orders.watch = func(grpc.ServerStreamingServer[orders.Order]) error { return nil }
				r.start()
				ctx := metadata.AppendToOutgoingContext(t.Context(), wire.AttemptID, "a1")
				stream, err := r.client.Watch(ctx, &orders.GetRequest{})
				if err == nil {
					err = receive(stream)
				}
				if err != nil {
					t.Fatal(err)
				}
				header, _ := stream.Header()
				check(t, metadata.Join(header, stream.Trailer()))
			})
		})
	}
	if len(forged) != 4 {
		t.Error("what the handler wrote was changed in its hands")
	}
}

func check(t *testing.T, md metadata.MD) {
	t.Helper()
	if len(md[wire.Unexecuted])+len(md[wire.Draining])+len(md[wire.Repeated]) > 0 || !slices.Equal(md["kept"], []string{"x"}) {
		t.Errorf("the caller got %v: want only what is not a mark", md)
	}
}

// A handler's calls carry the mark that stops retries of retries.
func TestChainStopIsPassedOn(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		var seen [][]string
		r.orders.get = func(ctx context.Context) error {
			out, _ := metadata.FromOutgoingContext(ctx)
			seen = append(seen, out[wire.Attempt])
			return nil
		}
		r.orders.watch = func(s grpc.ServerStreamingServer[orders.Order]) error { return r.orders.get(s.Context()) }
		r.start()
		for _, pairs := range [][]string{nil, {wire.Attempt, "2"}, {wire.Attempt, "a proxy's", wire.Attempt, "3"}, {wire.Attempt, "many"}} {
			if _, err := r.get(pairs...); err != nil {
				t.Fatal(err)
			}
			stream, err := r.client.Watch(metadata.AppendToOutgoingContext(t.Context(), pairs...), &orders.GetRequest{})
			if err == nil {
				err = receive(stream)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.EqualFunc(seen, [][]string{nil, nil, {"2"}, {"2"}, {"3"}, {"3"}, nil, nil}, slices.Equal[[]string]) {
			t.Errorf("passed on %q", seen)
		}
	})
}

// A handler that panics is counted out.
func TestPanicsAreCountedOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		unary := r.life.Unary()
		defer func() {
			if recover() == nil {
				t.Error("the panic is not ours to end")
			}
			if unary, _ := r.life.InFlight(); unary != 0 {
				t.Errorf("%d in flight", unary)
			}
		}()
		_, _ = unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}, func(context.Context, any) (any, error) {
			if unary, _ := r.life.InFlight(); unary != 1 {
				t.Errorf("%d in flight in the handler", unary)
			}
			panic("x")
		})
	})
}

// Only the server itself makes replays.
func TestIsReplay(t *testing.T) {
	var seen []bool
	call := func(ctx context.Context, conn *grpc.ClientConn, pairs ...string) error {
		_, err := orders.NewOrdersClient(conn).Get(metadata.AppendToOutgoingContext(ctx, pairs...), &orders.GetRequest{})
		return err
	}
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		r.orders.get = func(ctx context.Context) error {
			seen = append(seen, lifecycle.IsReplay(ctx))
			return nil
		}
		c.Steps = []lifecycle.Step{{Name: "replay", Run: func(ctx context.Context, conn *grpc.ClientConn) error {
			return errors.Join(call(ctx, conn), call(ctx, conn, wire.Replay, "1"))
		}}}
	}, func(t *testing.T, r *rig) {
		r.start()
		if err := errors.Join(call(t.Context(), r.conn), call(t.Context(), r.conn, wire.Replay, "1")); err != nil {
			t.Error(err)
		}
		if want := []bool{false, true, false, false}; !slices.Equal(seen, want) {
			t.Errorf("own call, own replay, a caller's, a caller's that says replay: %v, want %v", seen, want)
		}
	})
}

// bareCall returns a call through the interceptor and nothing else.
func bareCall(ctx context.Context) func() {
	unary := lifecycle.New(lifecycle.Config{}).Unary()
	info := &grpc.UnaryServerInfo{FullMethod: orders.Orders_Get_FullMethodName}
	md := metadata.MD{":authority": {"orders"}, "content-type": {"application/grpc"}, "user-agent": {"grpc-go/1.85.0"}, "grpc-accept-encoding": {"gzip"}}
	ctx = grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(ctx, md), transport{})
	handler := func(context.Context, any) (any, error) { return nil, nil }
	return func() { _, _ = unary(ctx, nil, info, handler) }
}

// What the interceptor takes is a promise.
func TestAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(1000, bareCall(t.Context())); n > 2 {
		t.Errorf("%v allocations per call, want at most 2", n)
	}
}

// BenchmarkInterceptor is what the interceptor adds to a call.
func BenchmarkInterceptor(b *testing.B) {
	call := bareCall(b.Context())
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			call()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				call()
			}
		})
	})
}

// transport is a call's without a connection.
type transport struct{}

func (transport) Method() string               { return "" }
func (transport) SetHeader(metadata.MD) error  { return nil }
func (transport) SendHeader(metadata.MD) error { return nil }
func (transport) SetTrailer(metadata.MD) error { return nil }
