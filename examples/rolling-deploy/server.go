package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

const (
	work     = 2 * time.Millisecond // that a unary call takes
	messages = 20                   // of a stream that has an end
	interval = 50 * time.Millisecond
	moveTime = 2 * time.Second // for callers to move a stream that has none

	untilTold = "until told" // the order whose stream has no end
)

// child is what the program is told when it is a server.
type child struct{ id, listen, registry string }

// serve is a server process: it says "online ADDRESS" when it is registered, and leaves
// on SIGTERM, or when its parent has ended.
func serve(ctx context.Context, c config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		cancel()
	}()
	var registrar discovery.Registrar = remote{c.child.registry}
	if c.consul != "" {
		registry, err := consul.New(consul.Config{Address: c.consul})
		if err != nil {
			return err
		}
		defer func() { _ = registry.Close() }()
		registrar = registry
	}
	l := lifecycle.New(lifecycle.Config{
		Service:    service,
		ID:         c.child.id,
		Listen:     c.child.listen,
		Registrars: []discovery.Registrar{announcing{registrar}},
		Steps:      []lifecycle.Step{{Name: "first call", Run: firstCall}},
		Drain:      lifecycle.Drain{Propagation: c.propagation},
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	srv := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(srv, &handler{id: c.child.id})
	return l.Run(ctx, srv)
}

func firstCall(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := orders.NewOrdersClient(conn).Get(ctx, &orders.GetRequest{})
	return err
}

// announcing tells the parent when the server is registered.
type announcing struct{ discovery.Registrar }

// Register implements [discovery.Registrar].
func (a announcing) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	l, err := a.Registrar.Register(ctx, r)
	if err == nil {
		fmt.Println("online", r.Instance.Address)
	}
	return l, err
}

// handler is the service itself: a little work, and who did it.
type handler struct {
	orders.UnimplementedOrdersServer
	id string
}

// Get implements orders.v1.Orders.
func (h *handler) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return h.answer(r.GetId()), wait(ctx, work)
}

// Place implements orders.v1.Orders.
func (h *handler) Place(ctx context.Context, _ *orders.PlaceRequest) (*orders.Order, error) {
	return h.answer(""), wait(ctx, work)
}

// Watch implements orders.v1.Orders. A stream with an end takes it, also while the server
// leaves; one without ends some time after its caller could have moved it.
func (h *handler) Watch(r *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	var leaving <-chan struct{}
	if r.GetId() == untilTold {
		leaving = lifecycle.Draining(stream.Context())
	}
	for n := 0; n < messages || leaving != nil; n++ {
		if err := stream.Send(h.answer(r.GetId())); err != nil {
			return err
		}
		select {
		case <-leaving:
			if err := wait(stream.Context(), moveTime); err != nil {
				return err // its caller has moved it
			}
			return status.Error(codes.Unavailable, "this instance is leaving")
		default:
		}
		if err := wait(stream.Context(), interval); err != nil {
			return err
		}
	}
	return nil
}

func (h *handler) answer(id string) *orders.Order { return &orders.Order{Id: id, ServedBy: h.id} }

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
