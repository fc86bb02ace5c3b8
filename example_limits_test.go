package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
)

// What a service would refuse anyway is mostly not even sent.
func ExampleWithThrottle() {
	failing := &shop{}
	failing.failures.Store(1000)
	target, closeAll := openShops(failing)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithoutRetry(), surecall.WithoutBreaker(),
		surecall.WithoutServiceBreaker(), surecall.WithThrottle(limit.Throttle{K: 1.5}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	held := 0
	for range 200 {
		if _, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"}); errors.Is(err, surecall.ErrThrottled) {
			held++
		}
	}
	fmt.Println("more than half were held back:", held > 100)
	// Output: more than half were held back: true
}

// busyShop tells who came, and keeps calls and streams until they are cancelled.
type busyShop struct {
	orders.UnimplementedOrdersServer
	came chan string
}

func (s *busyShop) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	s.came <- "a call"
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s *busyShop) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	s.came <- "a stream"
	<-stream.Context().Done()
	return stream.Context().Err()
}

// An instance that has as many calls as it may is passed over. When all have, the next call
// is told at once.
func ExampleWithInstanceConcurrency() {
	busy := &busyShop{came: make(chan string)}
	target, closeAll := openAll(busy, busy)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithoutAttemptTimeout(),
		surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	if err := client.WaitReady(ctx); err != nil {
		fmt.Println(err)
		return
	}

	stub := orders.NewOrdersClient(client)
	for _, i := range client.Instances() {
		calls.Go(func() { _, _ = stub.Get(surecall.Pin(ctx, i.ID), &orders.GetRequest{Id: "7"}) })
		fmt.Println(<-busy.came)
	}
	_, err = stub.Get(ctx, &orders.GetRequest{Id: "7"})
	fmt.Println(status.Code(err), errors.Is(err, surecall.ErrConcurrency))
	// Output:
	// a call
	// a call
	// ResourceExhausted true
}

// Streams stay long, so they are counted apart.
func ExampleWithInstanceStreamConcurrency() {
	busy := &busyShop{came: make(chan string)}
	target, closeAll := openAll(busy)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithInstanceStreamConcurrency(limit.Concurrency{Limit: 2}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stub := orders.NewOrdersClient(client)
	for range 2 {
		if _, err := stub.Watch(ctx, &orders.GetRequest{Id: "7"}); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(<-busy.came)
	}
	_, err = stub.Watch(ctx, &orders.GetRequest{Id: "7"})
	fmt.Println(status.Code(err), errors.Is(err, surecall.ErrConcurrency))
	// Output:
	// a stream
	// a stream
	// ResourceExhausted true
}

// listeningShop fails the first attempt, and notes the call ID of each.
type listeningShop struct {
	orders.UnimplementedOrdersServer
	ids []string
}

func (s *listeningShop) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	s.ids = append(s.ids, metadata.ValueFromIncomingContext(ctx, "surecall-call-id")...)
	if len(s.ids) == 1 {
		return nil, status.Error(codes.Unavailable, "out for lunch")
	}
	return &orders.Order{Id: r.GetId()}, nil
}

// All attempts of a call have one ID, by which a server knows what it has executed already:
// see the package lifecycle/once.
func ExampleWithCallID() {
	listening := &listeningShop{}
	target, closeAll := openAll(listening)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.ForMethod(orders.Orders_Get_FullMethodName, surecall.WithCallID()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(err, len(listening.ids), listening.ids[0] == listening.ids[1])
	// Output: <nil> 2 true
}

// A service is given up by hand, while its database is moved say, and taken back.
func ExampleClient_SetServiceMode() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, mode := range []breaker.Mode{breaker.ForcedOpen, breaker.Automatic} {
		if err := client.SetServiceMode(mode); err != nil {
			fmt.Println(err)
		}
		_, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
		fmt.Println(mode, status.Code(err), errors.Is(err, surecall.ErrServiceDown))
	}
	// Output:
	// forced open Unavailable true
	// automatic OK false
}

// One method is given up by hand; the others are not.
func ExampleClient_SetMethodMode() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithMethodBreaker(breaker.MethodPolicy{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, mode := range []breaker.Mode{breaker.ForcedOpen, breaker.Automatic} {
		if err := client.SetMethodMode(orders.Orders_Get_FullMethodName, mode); err != nil {
			fmt.Println(err)
		}
		_, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
		fmt.Println(mode, status.Code(err), errors.Is(err, surecall.ErrMethodDown))
	}
	// Output:
	// forced open Unavailable true
	// automatic OK false
}
