package main

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

const service = "counter"

// counter stands for the database that all instances of the service share.
type counter struct {
	killEach int64
	value    atomic.Int64
	kills    atomic.Int64
}

// serve starts one instance. store is nil for one that does not drop repeats.
func serve(ctx context.Context, registry discovery.Registrar, c *counter, store once.Store) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &instance{Listener: listener, counter: c, conns: make(map[net.Conn]struct{})}
	l := lifecycle.New(lifecycle.Config{
		Service: service, Listener: i, Registrars: []discovery.Registrar{registry},
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond}, // nobody calls any more by then
		Logger: slog.New(slog.DiscardHandler),
	})
	srv := grpc.NewServer(l.ServerOptions()...)
	if store == nil {
		orders.RegisterOrdersServer(srv, i)
	} else {
		orders.RegisterOrdersServer(l.Once(srv, once.Policy{Store: store}), i)
	}
	if err := l.Start(ctx, srv); err != nil {
		return nil, err
	}
	return func() { _ = l.Stop(ctx) }, nil
}

// instance is a server that is killed now and then. To its callers it is as if its
// process had been: all connections end, and whatever it did stays done. In truth it
// goes on, as another process would that took its place at once.
type instance struct {
	orders.UnimplementedOrdersServer
	net.Listener
	counter *counter

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Place counts, and is killed before it can say so.
func (i *instance) Place(_ context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	n := i.counter.value.Add(1)
	if n%i.counter.killEach == 0 {
		i.kill()
	}
	return &orders.Order{Id: strconv.FormatInt(n, 10), Item: r.GetItem()}, nil
}

func (i *instance) kill() {
	i.counter.kills.Add(1)
	i.mu.Lock()
	defer i.mu.Unlock()
	for conn := range i.conns {
		_ = conn.Close()
	}
	clear(i.conns)
}

// Accept implements [net.Listener].
func (i *instance) Accept() (net.Conn, error) {
	conn, err := i.Listener.Accept()
	if err == nil {
		i.mu.Lock()
		i.conns[conn] = struct{}{}
		i.mu.Unlock()
	}
	return conn, err
}
