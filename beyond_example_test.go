package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// Each instance is told, and each has its result.
func ExampleBroadcast() {
	closed := &shop{}
	closed.failures.Store(100)
	target, closeAll := openShops(&shop{}, closed, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithoutRetry())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	results, err := surecall.Broadcast(ctx, client, orders.NewOrdersClient(client).Get, &orders.GetRequest{Id: "7"})
	told := 0
	for _, r := range results {
		if r.Err == nil { // r.Reply is that instance's, an *orders.Order
			told++
		}
	}
	fmt.Println(told, "of", len(results), "instances answered")
	fmt.Println(status.Code(err)) // err names each that failed
	// Output:
	// 2 of 3 instances answered
	// Unavailable
}

// One instance after the other, as a restart might want it.
func ExampleParallel() {
	target, closeAll := openShops(&shop{}, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	results, err := surecall.Broadcast(context.Background(), client, orders.NewOrdersClient(client).Get,
		&orders.GetRequest{Id: "7"}, surecall.Parallel(1))
	fmt.Println(len(results), err)
	// Output: 2 <nil>
}

// A handler notifies, and goes on at once. Before the program exits, it flushes.
func ExampleNotify() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	request := &orders.GetRequest{Id: "7"}
	err = surecall.Notify(context.Background(), client, orders.NewOrdersClient(client).Get, request)
	fmt.Println(err)
	request.Id = "8" // the request was copied

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(client.Flush(ctx))
	fmt.Printf("%+v\n", client.Notifications())
	// Output:
	// <nil>
	// <nil>
	// {Pending:0 Sent:1 Failed:0 Dropped:0}
}

// What finds no room is dropped at once: memory is bounded, and the caller never waits.
func ExampleWithNotifications() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.WithNotifications(surecall.NotifyPolicy{MaxBytes: 10}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	err = surecall.Notify(context.Background(), client, orders.NewOrdersClient(client).Get,
		&orders.GetRequest{Id: "a rather long ID"})
	fmt.Println(errors.Is(err, surecall.ErrNotifyFull), status.Code(err) == codes.ResourceExhausted)
	fmt.Println(client.Notifications().Dropped, "dropped")
	// Output:
	// true true
	// 1 dropped
}

// Two calls to two services at once, typed by their stubs.
func ExampleGo() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	stub := orders.NewOrdersClient(client)
	one := surecall.Go(ctx, stub.Get, &orders.GetRequest{Id: "1"})
	two := surecall.Go(ctx, stub.Get, &orders.GetRequest{Id: "2"})

	for _, f := range []*surecall.Future[*orders.Order]{one, two} {
		order, err := f.Wait(ctx)
		fmt.Println(order.GetId(), order.GetItem(), err, len(f.Trace().Attempts), "attempt")
	}
	// Output:
	// 1 tea <nil> 1 attempt
	// 2 tea <nil> 1 attempt
}

// Whoever stops to wait does not stop the call.
func ExampleFuture() {
	answer := make(chan struct{})
	slow := func(context.Context, *orders.GetRequest, ...grpc.CallOption) (*orders.Order, error) {
		<-answer
		return &orders.Order{Item: "tea"}, nil
	}
	f := surecall.Go(context.Background(), slow, &orders.GetRequest{})

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := f.Wait(ctx)
	fmt.Println(err)

	close(answer)
	<-f.Done()
	order, err := f.Wait(context.Background())
	fmt.Println(order.GetItem(), err)
	// Output:
	// surecall: Wait: the call goes on: context deadline exceeded
	// tea <nil>
}
