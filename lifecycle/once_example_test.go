package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

// A repeat of a call gets what the call got. Here it is made by hand, with metadata that
// clients of surecall send by themselves; examples/exactly-once has the client's half.
func ExampleLife_Once() {
	store, err := once.NewMemory(once.MemoryPolicy{}) // one instance; several share one elsewhere
	if err != nil {
		fmt.Println(err)
		return
	}
	l := lifecycle.New(lifecycle.Config{
		Service: "orders", Listen: "127.0.0.1:0",
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
	srv := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(l.Once(srv, once.Policy{Store: store}), &handler{})

	ctx := context.Background()
	if err := l.Start(ctx, srv); err != nil {
		fmt.Println(err)
		return
	}
	client, hangUp := dialLife(l)
	defer hangUp()
	for _, id := range []string{"call-1", "call-1", "call-2"} {
		ctx := metadata.AppendToOutgoingContext(ctx, "surecall-call-id", id)
		order, err := client.Place(ctx, &orders.PlaceRequest{Item: "a pen"})
		fmt.Printf("%s: order %s, error %v\n", id, order.GetId(), err)
	}
	fmt.Println("stopped, error", l.Stop(ctx))
	// Output:
	// call-1: order 1, error <nil>
	// call-1: order 1, error <nil>
	// call-2: order 2, error <nil>
	// stopped, error <nil>
}

// A handler that finds that it can do nothing says so.
func ExampleNotExecuted() {
	begin := func(context.Context) error { return errors.New("too many connections") } // a transaction of a database
	place := func(ctx context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
		if err := begin(ctx); err != nil {
			return nil, lifecycle.NotExecuted(status.Errorf(codes.Unavailable, "the database is away: %v", err))
		}
		return &orders.Order{Item: r.GetItem()}, nil // from here on an error may have had an effect
	}
	_, err := place(context.Background(), &orders.PlaceRequest{})
	fmt.Println(err)
	// Output:
	// rpc error: code = Unavailable desc = the database is away: too many connections
}

// A handler that asks another service keeps 50 ms to answer in, with less if it must be.
func ExampleReserve() {
	ask := func(ctx context.Context) (string, error) { // a service that does not answer
		<-ctx.Done()
		return "", ctx.Err()
	}
	handler := func(ctx context.Context) string {
		asking, cancel := lifecycle.Reserve(ctx, 50*time.Millisecond)
		defer cancel()
		recommended, err := ask(asking)
		if err != nil {
			return "a pen; no recommendations today"
		}
		return "a pen; you may also like " + recommended
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	fmt.Println(handler(ctx))
	fmt.Println("in time:", ctx.Err() == nil)
	// Output:
	// a pen; no recommendations today
	// in time: true
}
