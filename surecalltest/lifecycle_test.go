package surecalltest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/lifecycle"
)

// fleet is a service of servers on package lifecycle.
type fleet struct {
	t        *testing.T
	registry *memory.Registry
	drain    lifecycle.Drain
	executed atomic.Int64 // of Place

	mu        sync.Mutex
	listeners map[string]*pipe.Listener
}

func (f *fleet) start(address string) *lifecycle.Life {
	lis := pipe.Listen()
	f.mu.Lock()
	f.listeners[address] = lis
	f.mu.Unlock()
	life := lifecycle.New(lifecycle.Config{
		Service: "orders", Listener: lis, Address: address, Registrars: []discovery.Registrar{f.registry},
		Drain: f.drain, Logger: slog.New(slog.DiscardHandler),
	})
	srv := grpc.NewServer(life.ServerOptions()...)
	orders.RegisterOrdersServer(srv, working{fleet: f})
	if err := life.Start(f.t.Context(), srv); err != nil {
		f.t.Fatal(err)
	}
	return life
}

func (f *fleet) dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	lis := f.listeners[address]
	f.mu.Unlock()
	conn, err := lis.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial tcp %s: connect: %w", address, syscall.ECONNREFUSED)
	}
	return conn, nil
}

// working takes a moment for each call.
type working struct {
	orders.UnimplementedOrdersServer
	fleet *fleet
}

func (w working) Get(context.Context, *orders.GetRequest) (*orders.Order, error) {
	time.Sleep(5 * time.Millisecond)
	return &orders.Order{}, nil
}

func (w working) Place(context.Context, *orders.PlaceRequest) (*orders.Order, error) {
	w.fleet.executed.Add(1)
	time.Sleep(5 * time.Millisecond)
	return &orders.Order{}, nil
}

// A rolling restart under load, with new addresses and with the same ones: no call fails,
// idempotent or not, and none is executed twice.
func TestRollingRestart(t *testing.T) {
	for name, drain := range map[string]lifecycle.Drain{
		"default":        {},
		"refuse at once": {RefuseAtOnce: true},
		"hasty":          {Propagation: 1, Quiet: 1, Wait: 1}, // what still comes is refused, and goes elsewhere
	} {
		for _, same := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, same addresses %v", name, same), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { rollingRestart(t, drain, same) })
			})
		}
	}
}

func rollingRestart(t *testing.T, drain lifecycle.Drain, same bool) {
	f := &fleet{t: t, registry: memory.New(), drain: drain, listeners: map[string]*pipe.Listener{}}
	lives := make([]*lifecycle.Life, 3)
	for n := range lives {
		lives[n] = f.start(fmt.Sprintf("10.0.0.%d:80", n+1))
	}
	client, err := surecall.NewClient("memory:///orders",
		surecall.WithSource(f.registry), surecall.WithContextDialer(f.dial), surecall.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var issued, placed, failed atomic.Int64
	var load sync.WaitGroup
	for n := range 6 {
		load.Go(func() {
			for ctx.Err() == nil {
				var err error
				if n%2 == 0 {
					_, err = orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{})
				} else {
					placed.Add(1)
					_, err = orders.NewOrdersClient(client).Place(t.Context(), &orders.PlaceRequest{})
				}
				issued.Add(1)
				if err != nil {
					failed.Add(1)
					t.Logf("after %d calls: %v", issued.Load(), err)
				}
				time.Sleep(30 * time.Millisecond)
			}
		})
	}
	time.Sleep(time.Second)
	for n, life := range lives {
		address := life.Address()
		if err := life.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if !same {
			address = fmt.Sprintf("10.0.1.%d:80", n+1)
		}
		lives[n] = f.start(address)
		time.Sleep(500 * time.Millisecond)
	}
	cancel()
	load.Wait()
	if failed.Load() > 0 || f.executed.Load() != placed.Load() || issued.Load() < 300 {
		t.Errorf("of %d calls %d failed; %d placed, %d executed", issued.Load(), failed.Load(), placed.Load(), f.executed.Load())
	}
	_ = client.Close()
	for _, life := range lives {
		_ = life.Stop(t.Context())
	}
}
