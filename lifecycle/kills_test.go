package lifecycle_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
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
	"github.com/surecall/surecall/lifecycle/once"
	"github.com/surecall/surecall/retry"
)

// counting is a service of several instances whose method counts up a counter that they
// share, as a database would be. Every so many executions one of them is killed, after
// it has counted and before it has answered.
type counting struct {
	t         *testing.T
	registry  *memory.Registry
	instances map[string]*mortal // by address
	killEach  int64
	counter   atomic.Int64
	kills     atomic.Int64
}

// startCounting starts n instances. store is nil for those that drop no repeats.
func startCounting(t *testing.T, n int, killEach int64, store once.Store) *counting {
	c := &counting{t: t, registry: memory.New(), instances: map[string]*mortal{}, killEach: killEach}
	for i := range n {
		address := fmt.Sprintf("10.0.0.%d:80", i+1)
		m := &mortal{service: c, listener: pipe.Listen(), conns: map[net.Conn]struct{}{}}
		m.life = lifecycle.New(lifecycle.Config{
			Service: service, Listener: m, Address: address,
			Registrars: []discovery.Registrar{c.registry}, Logger: slog.New(slog.DiscardHandler),
		})
		server := grpc.NewServer(m.life.ServerOptions()...)
		var registrar grpc.ServiceRegistrar = server
		if store != nil {
			registrar = m.life.Once(server, once.Policy{Store: store})
		}
		orders.RegisterOrdersServer(registrar, m)
		c.instances[address] = m
		if err := m.life.Start(t.Context(), server); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *counting) stop() {
	for _, m := range c.instances {
		if err := m.life.Stop(c.t.Context()); err != nil {
			c.t.Error(err)
		}
	}
}

// client returns a client that repeats the method which counts, more often than by
// default: a call may meet several kills in a row, and a kill fails many calls at once.
func (c *counting) client(opts ...surecall.Option) *surecall.Client {
	client, err := surecall.NewClient("memory:///"+service, append([]surecall.Option{
		surecall.WithInsecure(), surecall.WithSource(c.registry),
		surecall.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return c.instances[address].listener.DialContext(ctx)
		}),
		surecall.WithIdempotent(orders.Orders_Place_FullMethodName),
		surecall.ForMethod(orders.Orders_Place_FullMethodName, surecall.WithCallID()),
		surecall.WithRetry(retry.Policy{MaxAttempts: 6}),
		surecall.WithRetryBudget(retry.BudgetPolicy{MinCapacity: 500}),
	}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// mortal is an instance, and the listener that its server takes connections from.
type mortal struct {
	orders.UnimplementedOrdersServer
	service  *counting
	life     *lifecycle.Life
	listener *pipe.Listener

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (m *mortal) Place(context.Context, *orders.PlaceRequest) (*orders.Order, error) {
	n := m.service.counter.Add(1)
	time.Sleep(time.Millisecond)
	if n%m.service.killEach == 0 {
		m.kill()
	}
	return &orders.Order{Id: fmt.Sprint(n)}, nil
}

// kill ends all connections of the instance, as its death does. It is back at once, which
// makes for more deaths.
func (m *mortal) kill() {
	m.service.kills.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.conns {
		_ = conn.Close()
	}
	clear(m.conns)
}

// Accept implements [net.Listener], as do Close and Addr.
func (m *mortal) Accept() (net.Conn, error) {
	conn, err := m.listener.Accept()
	if err == nil {
		m.mu.Lock()
		m.conns[conn] = struct{}{}
		m.mu.Unlock()
	}
	return conn, err
}

func (m *mortal) Close() error   { return m.listener.Close() }
func (m *mortal) Addr() net.Addr { return m.listener.Addr() }

// load makes calls from several callers, and returns how many failed and the answers
// that came more than once.
func (c *counting) load(client *surecall.Client, calls, callers int) (failed, twice int64) {
	var (
		load     sync.WaitGroup
		failures atomic.Int64
		doubles  atomic.Int64
		answers  sync.Map
	)
	for range callers {
		load.Go(func() {
			stub := orders.NewOrdersClient(client)
			for range calls / callers {
				o, err := stub.Place(c.t.Context(), &orders.PlaceRequest{})
				if err != nil {
					failures.Add(1)
					c.t.Logf("after %d executions and %d kills: %v", c.counter.Load(), c.kills.Load(), err)
				} else if _, seen := answers.LoadOrStore(o.GetId(), true); seen {
					doubles.Add(1)
				}
			}
		})
	}
	load.Wait()
	return failures.Load(), doubles.Load()
}

// 100,000 calls of a method that is not idempotent, on instances that are killed again
// and again after they have executed and before they have answered: each call succeeds,
// and each has had its effect once. Store and counter are the same for all of them; with
// -short there are a tenth as many.
func TestExactlyOnceUnderKills(t *testing.T) {
	calls := 100_000
	if testing.Short() {
		calls /= 10
	}
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		store, err := once.NewMemory(once.MemoryPolicy{})
		if err != nil {
			t.Fatal(err)
		}
		c := startCounting(t, 4, 200, store)
		client := c.client()
		failed, twice := c.load(client, calls, 50)
		if n := c.counter.Load(); failed > 0 || twice > 0 || n != int64(calls) {
			t.Errorf("%d calls: %d failed, %d executions, %d answers came to two", calls, failed, n, twice)
		}
		if n := c.kills.Load(); n < int64(calls/200) {
			t.Errorf("%d kills: want one each 200 executions", n)
		}
		_ = client.Close()
		c.stop()
	})
	t.Logf("%d calls in %v", calls, time.Since(began).Round(time.Millisecond))
}

// The controls. A client that repeats and a server that cannot tell count too often; a
// client that does not repeat loses calls, of which nobody knows whether they counted.
func TestWithoutOnceTheCountIsOff(t *testing.T) {
	const calls = 5000
	for name, test := range map[string]struct {
		opts []surecall.Option
		ok   func(executions, failed int64) bool
	}{
		"repeated": {nil, func(executions, failed int64) bool { return executions > calls && failed == 0 }},
		"not repeated": {
			[]surecall.Option{surecall.WithNotIdempotent(orders.Orders_Place_FullMethodName)},
			func(_, failed int64) bool { return failed > 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startCounting(t, 4, 200, nil)
				client := c.client(test.opts...)
				failed, _ := c.load(client, calls, 50)
				t.Logf("%d calls: %d failed, %d executions, %d kills", calls, failed, c.counter.Load(), c.kills.Load())
				if !test.ok(c.counter.Load(), failed) {
					t.Error("this proves nothing about the guard")
				}
				_ = client.Close()
				c.stop()
			})
		})
	}
}
