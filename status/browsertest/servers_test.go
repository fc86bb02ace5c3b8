package browsertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
)

// fleet is a service of real servers on loopback, and a client that calls it all the time.
type fleet struct {
	client  *surecall.Client
	servers []*grpc.Server
}

type shop struct {
	orders.UnimplementedOrdersServer
	id string
}

func (s shop) Get(context.Context, *orders.GetRequest) (*orders.Order, error) {
	return &orders.Order{ServedBy: s.id}, nil
}

func (s shop) Place(context.Context, *orders.PlaceRequest) (*orders.Order, error) {
	return nil, grpcstatus.Error(codes.FailedPrecondition, "the till is closed")
}

// start runs n servers of a service, and calls it until the test ends.
func start(t *testing.T, n int, service string) *fleet {
	t.Helper()
	f, registry := &fleet{}, memory.New()
	var all []discovery.Instance
	var serving sync.WaitGroup
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("%s-%d", service, i+1)
		server := grpc.NewServer()
		orders.RegisterOrdersServer(server, shop{id: id})
		serving.Go(func() { _ = server.Serve(l) })
		t.Cleanup(server.Stop)
		f.servers = append(f.servers, server)
		all = append(all, discovery.Instance{ID: id, Service: service, Address: l.Addr().String(), Zone: string(rune('a' + i%3))})
	}
	registry.Set(service, all...)
	var err error
	if f.client, err = surecall.NewClient("memory:///"+service, surecall.WithSource(registry), surecall.WithInsecure()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	for range 4 {
		serving.Go(func() { call(ctx, orders.NewOrdersClient(f.client)) })
	}
	t.Cleanup(func() {
		stop()
		_ = f.client.Close()
		for _, s := range f.servers {
			s.Stop()
		}
		serving.Wait()
	})
	return f
}

func call(ctx context.Context, client orders.OrdersClient) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%50 == 0 {
			_, _ = client.Place(ctx, &orders.PlaceRequest{})
		}
		_, _ = client.Get(ctx, &orders.GetRequest{})
	}
}

// serve serves h on loopback until the test ends, and returns where.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}
