package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// All that a simple service writes. Its context would be context.Background(), and
// SIGTERM would end it.
func ExampleLife_Run() {
	registry := memory.New() // consul.New(consul.Config{}) for the real one
	ctx, cancel := context.WithCancel(context.Background())
	l := lifecycle.New(lifecycle.Config{
		Service:    "orders",
		Listen:     "127.0.0.1:0",
		Registrars: []discovery.Registrar{registry},
		Steps: []lifecycle.Step{{Name: "cache", Run: func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := orders.NewOrdersClient(conn).Get(ctx, &orders.GetRequest{Id: "1"})
			fmt.Println("warmed up by a call to itself, error", err)
			return err
		}}},
		Hooks: []lifecycle.Hook{{Name: "database", Run: func(context.Context) error {
			fmt.Println("no handler runs: the database can be closed")
			return nil
		}}},
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond}, // an example has no time
		Logger: slog.New(slog.DiscardHandler),
	})
	srv := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(srv, &handler{})
	time.AfterFunc(100*time.Millisecond, cancel)
	fmt.Println("ended, error", l.Run(ctx, srv))
	// Output:
	// warmed up by a call to itself, error <nil>
	// no handler runs: the database can be closed
	// ended, error <nil>
}

// Interceptors of one's own go inside, as chained ones. They see the server's calls to
// itself too: one when it starts, one per heart-beat.
func ExampleLife_ServerOptions() {
	l := lifecycle.New(lifecycle.Config{
		Service: "orders", Listen: "127.0.0.1:0",
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
	hello := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		fmt.Println(info.FullMethod)
		return handler(ctx, req)
	}
	srv := grpc.NewServer(append(l.ServerOptions(), grpc.ChainUnaryInterceptor(hello))...)
	orders.RegisterOrdersServer(srv, &handler{})

	ctx := context.Background()
	if err := l.Start(ctx, srv); err != nil {
		fmt.Println(err)
		return
	}
	client, hangUp := dialLife(l)
	defer hangUp()
	_, err := client.Get(ctx, &orders.GetRequest{Id: "1"})
	fmt.Println("called, error", err)
	fmt.Println("stopped, error", l.Stop(ctx))
	// Output:
	// /grpc.health.v1.Health/Check
	// /orders.v1.Orders/Get
	// called, error <nil>
	// stopped, error <nil>
}

// A stream that would last for ever ends when its server leaves, and its caller opens
// it elsewhere.
func ExampleDraining() {
	watch := func(stream grpc.ServerStreamingServer[orders.Order]) error {
		changes := make(chan *orders.Order) // of which there are none here
		for {
			select {
			case o := <-changes:
				if err := stream.Send(o); err != nil {
					return err
				}
			case <-lifecycle.Draining(stream.Context()):
				return nil
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
	}
	l := lifecycle.New(lifecycle.Config{
		Service: "orders", Listen: "127.0.0.1:0",
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
	srv := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(srv, &handler{watch: watch})

	ctx := context.Background()
	if err := l.Start(ctx, srv); err != nil {
		fmt.Println(err)
		return
	}
	client, hangUp := dialLife(l)
	defer hangUp()
	stream, err := client.Watch(ctx, &orders.GetRequest{Id: "1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = stream.Recv()
	fmt.Println("watching, error", err)
	fmt.Println("drained, error", l.Drain(ctx))
	_, err = stream.Recv()
	fmt.Println("the stream:", err)
	fmt.Println("stopped, error", l.Stop(ctx))
	// Output:
	// watching, error <nil>
	// drained, error <nil>
	// the stream: EOF
	// stopped, error <nil>
}

// dialLife returns a plain client of a server.
func dialLife(l *lifecycle.Life) (client orders.OrdersClient, hangUp func()) {
	conn, err := grpc.NewClient("passthrough:///"+l.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return nil, func() {}
	}
	return orders.NewOrdersClient(conn), func() { _ = conn.Close() }
}

// A program with a loop of its own.
func ExampleLife_Start() {
	l := lifecycle.New(lifecycle.Config{
		Service: "orders", Listen: "127.0.0.1:0",
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
	srv := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(srv, &handler{})
	ctx := context.Background()
	if err := l.Start(ctx, srv); err != nil {
		fmt.Println(err)
		return
	}
	err := errors.Join(
		l.Drain(ctx),  // for maintenance, say
		l.Online(ctx), // back again
		l.Stop(ctx),
	)
	fmt.Println("stopped, error", err)
	fmt.Println(l.Online(ctx))
	// Output:
	// stopped, error <nil>
	// lifecycle: online: too late: the server stops for good
}
