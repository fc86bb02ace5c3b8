package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/retry"
)

// fetch reads one order from a service found in Consul.
func fetch(ctx context.Context, id string) (*orders.Order, error) {
	client, err := surecall.NewClient("consul:///orders", surecall.WithInsecure())
	if err != nil {
		return nil, err
	}
	defer client.Close() // in a program: one client per service, for its whole life
	return orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: id})
}

// serve serves orders until SIGTERM comes or ctx ends, and then leaves without failing a
// call. In registry callers find it, from when it is ready.
func serve(ctx context.Context, address string, service orders.OrdersServer, registry discovery.Registrar) error {
	l := lifecycle.New(lifecycle.Config{
		Service:    "orders",
		Listen:     address, // ":50051", say
		Registrars: []discovery.Registrar{registry},
	})
	server := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(server, service)
	return l.Run(ctx, server)
}

// shop answers every order, once it has failed as often as it was told to; a slow one
// takes longer than its caller waits.
type shop struct {
	orders.UnimplementedOrdersServer
	failures atomic.Int32
	slow     bool
}

func (s *shop) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	if s.slow {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err() // an answer could come before the caller's clock
	}
	if s.failures.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "out for lunch")
	}
	return &orders.Order{Id: r.GetId(), Item: "tea"}, nil
}

// openShops starts as many servers on loopback and returns a target that names them.
func openShops(shops ...*shop) (target string, closeAll func()) {
	var services []orders.OrdersServer
	for _, s := range shops {
		services = append(services, s)
	}
	return openAll(services...)
}

func openAll(services ...orders.OrdersServer) (target string, closeAll func()) {
	var addresses []string
	var servers []*grpc.Server
	for _, s := range services {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Println(err)
			continue
		}
		server := grpc.NewServer()
		orders.RegisterOrdersServer(server, s)
		go server.Serve(lis)
		addresses, servers = append(addresses, lis.Addr().String()), append(servers, server)
	}
	return "static:///" + strings.Join(addresses, ",") + "?service=orders", func() {
		for _, s := range servers {
			s.Stop()
		}
	}
}

func ExampleNewClient() {
	target, closeAll := openShops(&shop{}, &shop{})
	defer closeAll()

	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output: tea <nil>
}

// Everything that is wrong is reported at once.
func ExampleNewClient_errors() {
	_, err := surecall.NewClient("consul:///orders?tier=gold",
		surecall.WithInsecure(),
		surecall.WithCallDeadline(-time.Second),
		surecall.WithRetry(retry.Policy{MaxAttempts: 99}))
	for line := range strings.SplitSeq(err.Error(), "\n") {
		what, _, _ := strings.Cut(line, ": want")
		fmt.Println(what)
	}
	// Output:
	// surecall: discovery/consul: target: "tier" is unknown
	// surecall: WithCallDeadline -1s
	// retry: MaxAttempts 99
}

// What is said of a method by name wins over what is said of all.
func ExampleForMethod() {
	target, closeAll := openShops(&shop{})
	defer closeAll()

	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.WithCallDeadline(2*time.Second),
		surecall.ForMethod("/orders.v1.Orders/Get*", surecall.WithCallDeadline(500*time.Millisecond)),
		surecall.ForMethod(orders.Orders_Import_FullMethodName, surecall.WithoutRetry()),
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

// A failed attempt of an idempotent method is followed by another on another instance.
func ExampleWithRetry() {
	both := &shop{}
	both.failures.Store(1)
	target, closeAll := openShops(both, both)
	defer closeAll()

	client, err := surecall.NewClient(target, surecall.WithInsecure(),
		surecall.WithRetry(retry.Policy{MaxAttempts: 2}),
		surecall.WithEvents(func(e event.Event) {
			if r, ok := e.(event.AttemptRetried); ok {
				fmt.Println("attempt", r.Attempt, "of", r.Method, "failed:", status.Convert(r.Cause).Message())
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output:
	// attempt 1 of /orders.v1.Orders/Get failed: out for lunch
	// tea <nil>
}

// A running client takes other policies and keeps what it has learned.
func ExampleClient_Update() {
	target, closeAll := openShops(&shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	fmt.Println(client.Update(
		surecall.WithBalancer(balancer.Policy{Choice: balancer.RoundRobin}),
		surecall.WithIdempotent("/orders.v1.Orders/Place"),
	))
	fmt.Println(client.Update(surecall.WithCallDeadline(0))) // applies nothing
	// Output:
	// <nil>
	// surecall: WithCallDeadline 0s: want more than 0, or WithoutCallDeadline()
}

func ExampleClient_Instances() {
	target, closeAll := openShops(&shop{})
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
	for _, i := range client.Instances() {
		fmt.Println(i.State, "weight", i.Weight, "in flight", i.InFlight)
	}
	// Output: eligible weight 1 in flight 0
}

// A stream that lives long is told when its instance begins to leave, and goes on until
// its user has opened another.
func ExampleLeaving() {
	instance := newWatchable()
	defer instance.server.Stop()
	client, err := surecall.NewClient("static:///"+instance.address+"?service=orders", surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	stream, err := orders.NewOrdersClient(client).Watch(context.Background(), &orders.GetRequest{Id: "7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	time.AfterFunc(50*time.Millisecond, instance.health.Shutdown) // the instance says that it leaves
	<-surecall.Leaving(stream.Context())                          // in a program: in a select, beside what the stream brings
	fmt.Println("time to open the stream again")
	// Output: time to open the stream again
}

// watchable is a server whose streams last until their callers end them.
type watchable struct {
	orders.UnimplementedOrdersServer
	server  *grpc.Server
	health  *health.Server
	address string
}

func newWatchable() *watchable {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return nil
	}
	w := &watchable{server: grpc.NewServer(), health: health.NewServer(), address: lis.Addr().String()}
	orders.RegisterOrdersServer(w.server, w)
	healthpb.RegisterHealthServer(w.server, w.health)
	go w.server.Serve(lis)
	return w
}

func (*watchable) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	<-stream.Context().Done()
	return nil
}

// With nobody there, a call is rejected at once, and the error says what is known.
func ExampleRejection() {
	target, closeAll := openShops(&shop{})
	closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	var rejection *surecall.Rejection
	if errors.As(err, &rejection) {
		fmt.Println(rejection.Service, rejection.Known, "known,", rejection.States[event.Failed], "failed")
	}
	fmt.Println(errors.Is(err, surecall.ErrNoInstance), status.Code(err))
	// Output:
	// orders 1 known, 1 failed
	// true Unavailable
}

// For frameworks that call grpc.NewClient themselves.
func ExampleDialOptions() {
	target, closeAll := openShops(&shop{})
	defer closeAll()

	opts, err := surecall.DialOptions(target, surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	order, err := orders.NewOrdersClient(conn).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output: tea <nil>
}
