package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// A report may not crowd out the rest: its calls have a limit and a rate of their own, and
// some of them wait a little.
func ExampleWithConcurrency() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.WithConcurrency(limit.Concurrency{Adaptive: limit.Adaptive{On: true}}),
		surecall.ForMethod("/orders.v1.Orders/Import*",
			surecall.WithRateLimit(limit.Rate{PerSecond: 20})),
		surecall.ForMethod("/orders.v1.Orders/Get*",
			surecall.WithConcurrency(limit.Concurrency{Limit: 50, Queue: limit.Queue{MaxWaiting: 100}})),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output: tea <nil>
}

// Over the rate, a call is refused before anything is sent, and told when to come again.
func ExampleWithRateLimit() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithRateLimit(limit.Rate{PerSecond: 0.001, Burst: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for range 2 {
		_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
		fmt.Println(status.Code(err), errors.Is(err, surecall.ErrRateLimited))
	}
	var rejection *surecall.Rejection
	if errors.As(err, &rejection) {
		fmt.Println("in about", rejection.RetryAfter.Round(time.Minute))
	}
	// Output:
	// OK false
	// ResourceExhausted true
	// in about 17m0s
}

// A method that fails wherever it is called is given up for a while. The event says why.
func ExampleWithMethodBreaker() {
	broken := &shop{}
	broken.failures.Store(1000)
	target, closeAll := openShops(broken)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithoutRetry(), surecall.WithoutBreaker(),
		surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 10, Open: time.Minute}),
		surecall.WithEvents(func(e event.Event) {
			if c, ok := e.(event.MethodBreakerChanged); ok {
				fmt.Println(c.Method, c.To+":", c.Why)
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for range 100 {
		_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	}
	fmt.Println(errors.Is(err, surecall.ErrMethodDown), broken.failures.Load())
	// Output:
	// /orders.v1.Orders/Get open: 10 of 10 calls failed in 10s
	// true 990
}

// What is right for most calls can be changed for one.
func ExampleForCall() {
	failing := &shop{}
	failing.failures.Store(1)
	target, closeAll := openShops(failing)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	stub := orders.NewOrdersClient(client)
	_, err = stub.Get(context.Background(), &orders.GetRequest{Id: "7"},
		surecall.ForCall(surecall.WithoutRetry(), surecall.WithCallDeadline(time.Second)))
	fmt.Println(status.Code(err))
	_, err = stub.Get(context.Background(), &orders.GetRequest{Id: "7"}, surecall.ForCall(surecall.WithCallDeadline(-1)))
	fmt.Println(status.Code(err) == codes.InvalidArgument)
	// Output:
	// Unavailable
	// true
}

// What happened to a call: where its attempts went, and what came of each.
func ExampleTrace() {
	failing := &shop{}
	failing.failures.Store(1)
	target, closeAll := openShops(failing, failing)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	var trace surecall.CallTrace
	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"}, surecall.Trace(&trace))
	fmt.Println(err)
	for _, a := range trace.Attempts { // also a.Instance, a.Took, …
		fmt.Println("attempt", a.Number, status.Code(a.Err), "verdict:", a.Verdict)
	}
	// Output:
	// <nil>
	// attempt 1 Unavailable verdict: failure
	// attempt 2 OK verdict: success
}

// connectAll returns when all instances are connected: a pinned call waits for its own. Only
// what is said about these examples needs it.
func connectAll(client *surecall.Client) {
	if err := client.WaitReady(context.Background()); err != nil {
		fmt.Println(err)
	}
	for _, i := range client.Instances() {
		if _, err := orders.NewOrdersClient(client).Cancel(surecall.Pin(context.Background(), i.ID), &orders.CancelRequest{}); status.Code(err) != codes.Unimplemented {
			fmt.Println(err)
		}
	}
}

// slowShop answers its first call late.
type slowShop struct {
	orders.UnimplementedOrdersServer
	calls atomic.Int32
}

func (s *slowShop) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	if s.calls.Add(1) == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &orders.Order{Id: r.GetId(), Item: "tea"}, nil
}

// An attempt that takes long gets another beside it, on another instance. The first answer
// counts.
func ExampleWithHedge() {
	slow := &slowShop{}
	target, closeAll := openAll(slow, slow)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.ForMethod(orders.Orders_Get_FullMethodName, surecall.WithHedge(retry.Hedge{Delay: 10 * time.Millisecond})),
		surecall.WithEvents(func(e event.Event) {
			if h, ok := e.(event.AttemptHedged); ok {
				fmt.Println("attempt", h.Attempt, "is sent beside the first")
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	connectAll(client)

	order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output:
	// attempt 2 is sent beside the first
	// tea <nil>
}

// What can wait says so; under every limit it goes first, here and in the services that are
// called on its behalf.
func ExampleWithPriority() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithRateLimit(limit.Rate{PerSecond: 0.001, Burst: 2}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	stub := orders.NewOrdersClient(client)
	prefetch := surecall.WithPriority(context.Background(), limit.Sheddable)
	paying := surecall.WithPriority(context.Background(), limit.Critical)
	for _, ctx := range []context.Context{prefetch, prefetch, paying} {
		_, err := stub.Get(ctx, &orders.GetRequest{Id: "7"})
		fmt.Println(limit.FromContext(ctx), status.Code(err))
	}
	// Output:
	// sheddable OK
	// sheddable ResourceExhausted
	// critical OK
}

// One instance is asked, and no other: to look into it, say.
func ExamplePin() {
	target, closeAll := openShops(&shop{}, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.WaitReady(context.Background()); err != nil {
		fmt.Println(err)
		return
	}

	first := client.Instances()[0].ID
	var trace surecall.CallTrace
	_, err = orders.NewOrdersClient(client).Get(surecall.Pin(context.Background(), first), &orders.GetRequest{Id: "7"}, surecall.Trace(&trace))
	fmt.Println(trace.Attempts[0].Instance == first, err)
	_, err = orders.NewOrdersClient(client).Get(surecall.Pin(context.Background(), "gone"), &orders.GetRequest{Id: "7"})
	fmt.Println(status.Code(err), errors.Is(err, surecall.ErrNoInstance))
	// Output:
	// true <nil>
	// Unavailable true
}

// The calls for one customer go to one instance, which has what it needs at hand.
func ExampleSticky() {
	target, closeAll := openShops(&shop{}, &shop{}, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	connectAll(client)

	ctx := surecall.Sticky(context.Background(), "customer 4711")
	served := map[string]bool{}
	for range 20 {
		var trace surecall.CallTrace
		if _, err := orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: "1"}, surecall.Trace(&trace)); err != nil {
			fmt.Println(err)
		}
		served[trace.Attempts[0].Instance] = true
	}
	fmt.Println(len(served), "instance")
	// Output: 1 instance
}

// An operator takes an instance out by hand, and back.
func ExampleClient_SetInstanceMode() {
	target, closeAll := openShops(&shop{}, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.WaitReady(context.Background()); err != nil {
		fmt.Println(err)
		return
	}

	first := client.Instances()[0].ID
	for _, mode := range []breaker.Mode{breaker.ForcedOpen, breaker.Automatic} {
		err := client.SetInstanceMode(first, mode)
		fmt.Println(client.Instances()[0].Mode, err)
	}
	// Output:
	// forced open <nil>
	// automatic <nil>
}
