package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
)

const (
	registerTimeout = 20 * time.Second       // covers an agent that is just starting
	leaveTimeout    = 2 * time.Second        // for the deregistration
	propagation     = 200 * time.Millisecond // for callers to learn of it
	drainTimeout    = 2 * time.Second        // for calls in flight
)

var errNotRegistered = errors.New("not registered yet")

// instance is one server, from the opening of its port to its end.
type instance struct {
	config   config
	id       string
	listener net.Listener
	server   *grpc.Server
	served   chan error
	health   atomic.Uint32 // a discovery.Health, set by the test
	lease    atomic.Pointer[discovery.Lease]
}

// serve accepts calls; nobody knows of the instance yet.
func serve(c config, id, counters string) (*instance, error) {
	counted, err := counter.Open(counters)
	if err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", c.address)
	if err != nil {
		return nil, err
	}
	var options []grpc.ServerOption
	if c.healthAuth {
		options = append(options, grpc.UnaryInterceptor(denyHealth), grpc.StreamInterceptor(denyHealthStream))
	}
	i := &instance{config: c, id: id, listener: lis, server: grpc.NewServer(options...), served: make(chan error, 1)}
	orders.RegisterOrdersServer(i.server, &handler{id: id, behaviour: c.behaviour, counter: counted})
	healthpb.RegisterHealthServer(i.server, health.NewServer())
	go func() { i.served <- i.server.Serve(lis) }()
	return i, nil
}

func (i *instance) address() string { return i.listener.Addr().String() }

// register makes the instance known, and keeps it so.
func (i *instance) register(ctx context.Context) error {
	source, err := consul.New(consul.Config{
		Address: i.config.agent, Token: i.config.token,
		Events: func(e event.Event) { fmt.Fprintf(os.Stderr, "%s %T%+v\n", time.Now().Format("05.000"), e, e) },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	lease, err := source.Register(ctx, discovery.Registration{
		Instance: i.registration(i.config.weight),
		TTL:      i.config.ttl,
		Health: func(context.Context) (discovery.Health, string) {
			return discovery.Health(i.health.Load()), "set by the test"
		},
	})
	if err != nil {
		return err
	}
	i.lease.Store(&lease)
	return nil
}

func (i *instance) registration(weight int) discovery.Instance {
	return discovery.Instance{
		ID: i.id, Incarnation: i.config.incarnation, Service: i.config.service, Address: i.address(), Weight: weight,
	}
}

func (i *instance) setWeight(ctx context.Context, weight int) error {
	lease := i.lease.Load()
	if lease == nil {
		return errNotRegistered
	}
	return (*lease).Update(ctx, i.registration(weight))
}

// deregister leaves Consul and goes on serving.
func (i *instance) deregister(ctx context.Context) error {
	lease := i.lease.Load()
	if lease == nil {
		return errNotRegistered
	}
	return (*lease).Release(ctx)
}

// leave ends the instance without failing a call.
func (i *instance) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := i.deregister(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "server: %s leaves: %v\n", i.id, err)
	}
	time.Sleep(propagation)
	hard := time.AfterFunc(drainTimeout, i.server.Stop)
	defer hard.Stop()
	i.server.GracefulStop()
}
