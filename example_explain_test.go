package surecall_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// An error explains itself: nothing has to be set up for it.
func ExampleExplain() {
	failing := &shop{}
	failing.failures.Store(1)
	target, closeAll := openShops(failing)
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithNotIdempotent("/orders.v1.Orders/Get"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	if err != nil {
		how := surecall.Explain(err)
		fmt.Println(err)
		for _, a := range how.Call.Attempts {
			fmt.Printf("attempt %d: %v, %v\n", a.Number, a.Verdict, status.Code(a.Err))
		}
		fmt.Println("no further attempt:", how.Call.Denied)
		fmt.Println(len(how.Advice()), "advice")
		slog.Debug("a call failed", "how", how) // all of it, several lines
	}
	// Output:
	// rpc error: code = Unavailable desc = out for lunch
	// attempt 1: failure, Unavailable
	// no further attempt: not idempotent
	// 1 advice
}

// What went badly lately is there when one looks, also what another attempt has mended.
func ExampleClient_BadCalls() {
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

	order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	for _, bad := range client.BadCalls() {
		fmt.Printf("%s: %d attempts, error %v\n", bad.Call.Method, len(bad.Call.Attempts), bad.Call.Err)
	}
	// Output:
	// tea <nil>
	// /orders.v1.Orders/Get: 2 attempts, error <nil>
}

// A Status is all that a client knows, to show or to keep.
func ExampleClient_Status() {
	target, closeAll := openShops(&shop{}, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 5 {
		if _, err := orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: "7"}); err != nil {
			fmt.Println(err)
		}
	}

	s := client.Status()
	fmt.Println(s.Service, len(s.Instances), "instances, trusted:", s.Source.Trusted)
	for _, m := range s.Methods {
		fmt.Println(m.Name, m.Calls, m.Attempts)
	}
	// Output:
	// orders 2 instances, trusted: true
	// /orders.v1.Orders/Get map[OK:5] 5
}

// latencies is told how long every call took.
type latencies struct{}

func (latencies) Call(ctx context.Context, _, _ string) (context.Context, surecall.CallObserver) {
	return ctx, latencies{}
}

func (latencies) Attempt(ctx context.Context, _ int, _ bool) context.Context { return ctx }
func (latencies) AttemptEnds(_ context.Context, a *surecall.AttemptTrace) {
	fmt.Println("attempt", a.Number, a.Verdict)
}
func (latencies) CallEnds(t *surecall.CallTrace) { fmt.Println(t.Method, t.Took > 0) }

// An observer is told of all calls and attempts: module surecall/otel has one for OpenTelemetry.
func ExampleWithObserver() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithObserver(latencies{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(err)
	// Output:
	// attempt 1 success
	// /orders.v1.Orders/Get true
	// <nil>
}
