package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// closed is a target at which no shop is.
func closed() string {
	target, closeAll := openShops(&shop{})
	closeAll()
	return target
}

// buy gets one order.
func buy(target string, opts ...surecall.Option) {
	client, err := surecall.NewClient(target, append(opts, surecall.WithInsecure())...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), status.Code(err))
}

// When all failed, the caller's own function answers.
func ExampleWithFallback() {
	buy(closed(), surecall.ForMethod("/orders.v1.Orders/Get", surecall.WithFallback(
		func(_ context.Context, r *orders.GetRequest, cause error) (*orders.Order, error) {
			fmt.Println("because of", status.Code(cause), errors.Is(cause, surecall.ErrNoInstance))
			return &orders.Order{Id: r.GetId(), Item: "water"}, nil
		})))
	// Output:
	// because of Unavailable true
	// water OK
}

// That function and method fit is checked when the client is made.
func ExampleWithFallback_types() {
	_, err := surecall.NewClient(closed(), surecall.WithInsecure(),
		surecall.ForMethod("/orders.v1.Orders/Place", surecall.WithFallback(
			func(context.Context, *orders.GetRequest, error) (*orders.Order, error) { return nil, nil })))
	for part := range strings.SplitSeq(err.Error(), ": ") {
		fmt.Println(part)
	}
	// Output:
	// surecall
	// ForMethod("/orders.v1.Orders/Place")
	// WithFallback takes *orders.GetRequest and returns *orders.Order
	// want *orders.PlaceRequest and *orders.Order
}

// A fallback for some failures only: here while there is no instance at all.
func ExampleWithFallbackWhen() {
	fallback := surecall.WithOptions(
		surecall.WithFallback(func(context.Context, *orders.GetRequest, error) (*orders.Order, error) {
			return &orders.Order{Item: "water"}, nil
		}),
		surecall.WithFallbackWhen(func(err error) bool { return errors.Is(err, surecall.ErrNoInstance) }))
	buy(closed(), fallback)

	failing := &shop{}
	failing.failures.Store(10)
	target, closeAll := openShops(failing)
	defer closeAll()
	buy(target, fallback)
	// Output:
	// water OK
	//  Unavailable
}

// A fallback that needs time of its own, here of a caller whose whole second would be
// used up by an instance that is slow.
func ExampleWithFallbackReserve() {
	target, closeAll := openShops(&shop{slow: true})
	defer closeAll()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.WithFallbackReserve(500*time.Millisecond),
		surecall.WithFallback(func(ctx context.Context, _ *orders.GetRequest, cause error) (*orders.Order, error) {
			fmt.Println(status.Code(cause), "and there is time:", ctx.Err() == nil)
			return &orders.Order{Item: "water"}, nil
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	order, err := orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output:
	// DeadlineExceeded and there is time: true
	// water <nil>
}

// The last good answer to a request outlives the service.
func ExampleWithCache() {
	target, closeAll := openShops(&shop{})
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithCache(surecall.CachePolicy{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	stub := orders.NewOrdersClient(client)
	var header metadata.MD
	for range 2 {
		order, err := stub.Get(context.Background(), &orders.GetRequest{Id: "7"}, grpc.Header(&header))
		fmt.Println(order.GetItem(), err, header.Get(surecall.ServedByKey))
		closeAll()
	}
	// Output:
	// tea <nil> []
	// tea <nil> [stale cache]
}

// What a client keeps is bounded for all its methods together.
func ExampleWithCacheBytes() {
	for _, n := range []int{64 << 20, 0} {
		client, err := surecall.NewClient(closed(), surecall.WithInsecure(),
			surecall.WithCache(surecall.CachePolicy{Fresh: time.Second}), surecall.WithCacheBytes(n))
		if err != nil {
			fmt.Println(err)
			continue
		}
		client.Close()
	}
	// Output:
	// surecall: WithCacheBytes 0: want at least 1, or WithoutCache()
}

// Answers that depend on who asks are kept for each caller; a request ID changes nothing.
func ExampleCachePolicy() {
	err := surecall.CachePolicy{
		Fresh:  time.Second,
		Stale:  time.Hour,
		Vary:   []string{"authorization", "tenant"},
		Ignore: []string{"x-request-id", "tenant"},
	}.Validate()
	fmt.Println(err)
	// Output: surecall: CachePolicy.Vary and Ignore both have "tenant": want one of them
}

// The same call in another place, when all failed in this one.
func ExampleWithAlternate() {
	there, closeAll := openShops(&shop{})
	defer closeAll()
	elsewhere, err := surecall.NewClient(there, surecall.WithInsecure()) // "consul:///orders?dc=us", say
	if err != nil {
		fmt.Println(err)
		return
	}
	defer elsewhere.Close()

	buy(closed(), surecall.WithAlternate(elsewhere))
	// Output: tea OK
}
