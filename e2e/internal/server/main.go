// Command server is the instance that the end-to-end tests start, stop and kill: it
// serves orders.v1.Orders and keeps itself registered in Consul.
//
// It prints "serving ADDRESS ADMIN" when it accepts calls and "registered" when Consul
// knows it. ADMIN is an HTTP address on loopback:
//
//	POST /health?state=critical   what the next heart-beat reports
//	POST /weight?weight=3         registers again with this weight
//	POST /deregister              leaves Consul and goes on serving
//
// SIGTERM deregisters, gives callers 200 ms to notice, and stops gracefully.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/examples/orders"
)

const (
	registerTimeout = 20 * time.Second       // covers an agent that is just starting
	leaveTimeout    = 2 * time.Second        // for the deregistration
	propagation     = 200 * time.Millisecond // for callers to learn of it
	drainTimeout    = 2 * time.Second        // for calls in flight
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		address     = flag.String("address", "127.0.0.1:0", "where to serve")
		agent       = flag.String("consul", "", "host:port of the Consul agent")
		service     = flag.String("service", "orders", "name to register")
		id          = flag.String("id", "", "ID to register")
		incarnation = flag.String("incarnation", "", "nonce of this life")
		weight      = flag.Int("weight", 1, "weight to register")
		ttl         = flag.Duration("ttl", 3*time.Second, "TTL of the check")
		counters    = flag.String("counters", "", "file to count calls in")
		delay       = flag.Duration("delay", 2*time.Millisecond, "how long a call takes")
		fail        = flag.String("fail", "", "always or half: calls answered UNAVAILABLE")
		healthAuth  = flag.Bool("health-auth", false, "reject health checks as unauthenticated")
	)
	flag.Parse()

	counted, err := counter.Open(*counters)
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}

	var options []grpc.ServerOption
	if *healthAuth {
		options = append(options, grpc.UnaryInterceptor(denyHealth), grpc.StreamInterceptor(denyHealthStream))
	}
	srv := grpc.NewServer(options...)
	orders.RegisterOrdersServer(srv, &handler{id: *id, delay: *delay, fail: *fail, counter: counted})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()

	control := &admin{instance: discovery.Instance{
		ID: *id, Incarnation: *incarnation, Service: *service, Address: lis.Addr().String(), Weight: *weight,
	}}
	adminAddr, err := control.listen()
	if err != nil {
		return err
	}
	fmt.Println("serving", lis.Addr(), adminAddr)

	source, err := consul.New(consul.Config{Address: *agent})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), registerTimeout)
	lease, err := source.Register(ctx, discovery.Registration{
		Instance: control.instance,
		TTL:      *ttl,
		Health: func(context.Context) (discovery.Health, string) {
			return discovery.Health(control.health.Load()), "set by the test"
		},
	})
	cancel()
	if err != nil {
		return err
	}
	control.lease.Store(&lease)
	fmt.Println("registered")

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	select {
	case err := <-served:
		return err
	case <-term:
	}
	ctx, cancel = context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "server: leave:", err)
	}
	time.Sleep(propagation)
	hard := time.AfterFunc(drainTimeout, srv.Stop)
	defer hard.Stop()
	srv.GracefulStop()
	return nil
}

// admin changes what is registered. It is ready once lease is set.
type admin struct {
	instance discovery.Instance
	health   atomic.Uint32
	lease    atomic.Pointer[discovery.Lease]
}

func (a *admin) listen() (net.Addr, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /health", a.serve(func(r *http.Request, _ discovery.Lease) error {
		var h discovery.Health
		if err := h.UnmarshalText([]byte(r.FormValue("state"))); err != nil {
			return err
		}
		a.health.Store(uint32(h))
		return nil
	}))
	mux.HandleFunc("POST /weight", a.serve(func(r *http.Request, lease discovery.Lease) error {
		weight, err := strconv.Atoi(r.FormValue("weight"))
		if err != nil {
			return err
		}
		changed := a.instance
		changed.Weight = weight
		return lease.Update(r.Context(), changed)
	}))
	mux.HandleFunc("POST /deregister", a.serve(func(r *http.Request, lease discovery.Lease) error {
		return lease.Release(r.Context())
	}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(lis) }() // ends with the process
	return lis.Addr(), nil
}

func (a *admin) serve(do func(*http.Request, discovery.Lease) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		lease := a.lease.Load()
		if lease == nil {
			http.Error(w, "not registered yet", http.StatusServiceUnavailable)
			return
		}
		if err := do(r, *lease); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}
