package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/examples/orders"
)

const (
	work         = 2 * time.Millisecond // that a call takes
	writeTimeout = 3 * time.Second      // for a change in the registry
	drainTimeout = 2 * time.Second      // for calls in flight when a server leaves
)

// server is a child process: one instance of the orders service.
type server struct {
	id     string
	agent  string // Consul's address, if the server registers itself
	lis    net.Listener
	grpc   *grpc.Server
	orders *handler
	source *consul.Source
	lease  discovery.Lease
	reg    discovery.Registration
}

// serve says "serving ADDRESS" and then does what its parent tells it, in lines on
// stdin. It repeats each line when it is done, with the error if there was one. When
// stdin ends, so does the process, whatever is in flight.
func serve(id, agent string) error {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the parent, which ends us
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &server{id: id, agent: agent, lis: lis, grpc: grpc.NewServer(), orders: &handler{id: id}}
	orders.RegisterOrdersServer(s.grpc, s.orders)
	healthpb.RegisterHealthServer(s.grpc, health.NewServer())
	go func() { _ = s.grpc.Serve(lis) }()
	fmt.Println("serving", lis.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		verb, argument, _ := strings.Cut(lines.Text(), " ")
		err := s.obey(verb, argument)
		fmt.Printf("%s: %s\n", lines.Text(), text(err))
	}
	return nil
}

// text is what an answer says of err, in one line.
func text(err error) string {
	if err == nil {
		return "ok"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

func (s *server) obey(verb, argument string) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	switch verb {
	case "beat": // that we answer is the answer
		return nil
	case "register":
		return s.register(ctx)
	case "weigh":
		weight, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		s.reg.Instance.Weight = weight
		return s.lease.Update(ctx, s.reg.Instance)
	case "release":
		return errors.Join(s.lease.Release(ctx), s.source.Close())
	case "drain":
		hard := time.AfterFunc(drainTimeout, s.grpc.Stop)
		defer hard.Stop()
		s.grpc.GracefulStop()
		return nil
	case "hang":
		s.orders.hang.Store(true)
		return nil
	case "continue":
		s.orders.hang.Store(false)
		return nil
	}
	return fmt.Errorf("%q is not known", verb)
}

// register puts the server into Consul. Without -consul its parent does that.
func (s *server) register(ctx context.Context) (err error) {
	if s.source, err = consul.New(consul.Config{Address: s.agent}); err != nil {
		return err
	}
	s.reg = registration(s.id, s.lis.Addr().String())
	s.lease, err = s.source.Register(ctx, s.reg)
	return err
}

// registration is how an instance is registered, in either registry.
func registration(id, address string) discovery.Registration {
	return discovery.Registration{
		Instance:        discovery.Instance{ID: id, Service: service, Address: address, Weight: 1},
		TTL:             discovery.DefaultTTL,
		DeregisterAfter: discovery.MinDeregisterAfter,
	}
}

// handler is the service itself: a little work, and who did it.
type handler struct {
	orders.UnimplementedOrdersServer
	id   string
	hang atomic.Bool // stands for SIGSTOP where there is none
}

// Get implements orders.v1.Orders.
func (h *handler) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return h.order(ctx, &orders.Order{Id: r.GetId()})
}

// Place implements orders.v1.Orders.
func (h *handler) Place(ctx context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	return h.order(ctx, &orders.Order{Item: r.GetItem()})
}

func (h *handler) order(ctx context.Context, o *orders.Order) (*orders.Order, error) {
	timer := time.NewTimer(work)
	defer timer.Stop()
	done := timer.C
	if h.hang.Load() {
		done = nil
	}
	select {
	case <-done:
		o.ServedBy = h.id
		return o, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}
