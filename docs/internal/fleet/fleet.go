// Package fleet runs what the guides' code calls: a real Consul agent, and instances of
// the orders service that are registered in it.
package fleet

import (
	"cmp"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/consultest"
)

// Fleet is the service "orders".
type Fleet struct {
	Agent     string // the address of Consul's agent, which CONSUL_HTTP_ADDR names too
	Instances []*Instance
}

// Instance is one server, in this process.
type Instance struct {
	orders.UnimplementedOrdersServer
	Address string
	server  *grpc.Server
	calls   atomic.Int64
	placed  atomic.Int64
	holds   atomic.Bool
	caught  chan struct{} // one of the calls that it holds
}

// Start starts n instances and returns when Consul lists them. Without a Consul the test
// is skipped: see package consultest.
func Start(t *testing.T, n int) *Fleet {
	t.Helper()
	agent := consultest.Start(t)
	t.Setenv("CONSUL_HTTP_ADDR", agent.Addr)
	registry, err := consul.New(consul.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close() })
	f := &Fleet{Agent: agent.Addr}
	for range n {
		f.Instances = append(f.Instances, serve(t, registry))
	}
	await(t, registry, n)
	return f
}

// serve starts an instance. Its registration is heart-beaten until the test ends, whatever
// becomes of the server: Consul is the last to learn that it died.
func serve(t *testing.T, registry discovery.Registrar) *Instance {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &Instance{Address: listener.Addr().String(), server: grpc.NewServer(), caught: make(chan struct{}, 1)}
	orders.RegisterOrdersServer(i.server, i)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = i.server.Serve(listener)
	}()
	t.Cleanup(func() { i.server.Stop(); <-served })
	lease, err := registry.Register(t.Context(), discovery.Registration{
		Instance: discovery.Instance{Service: "orders", Address: i.Address},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release(context.Background()) })
	return i
}

// await returns when the registry lists n instances.
func await(t *testing.T, registry discovery.Source, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_ = registry.Watch(ctx, discovery.Query{Service: "orders"}, func(s discovery.Snapshot) {
		if len(s.Instances) == n {
			cancel()
		}
	})
	if t.Context().Err() != nil {
		t.Fatalf("Consul does not list the %d instances", n)
	}
}

// kill ends the instance's connections and what runs on it, and refuses new ones, as
// kill -9 does: in the middle of a call of Get, which it waits for.
func (i *Instance) kill(ctx context.Context) {
	i.holds.Store(true)
	select {
	case <-i.caught:
	case <-ctx.Done():
	}
	i.server.Stop()
}

// bad is the ID of an order that no instance can read.
const bad = "bad"

// Get answers with the instance's address.
func (i *Instance) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	i.calls.Add(1)
	if r.GetId() == bad {
		return nil, status.Error(codes.Internal, "cannot be read")
	}
	if i.holds.Load() {
		select {
		case i.caught <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &orders.Order{Id: r.GetId(), ServedBy: i.Address}, nil
}

// Place executes something that must not be executed twice.
func (i *Instance) Place(_ context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	i.calls.Add(1)
	i.placed.Add(1)
	return &orders.Order{Item: r.GetItem(), ServedBy: i.Address}, nil
}

// patience is the deadline of calls, with which a busy machine fails none.
const patience = time.Minute

// callers is how many goroutines call, and each how often, before and after the kill.
const (
	callers   = 4
	callsEach = 150
)

// Outcome is what callers saw while an instance was killed.
type Outcome struct {
	Failed int   // calls of Get
	First  error // of them
}

// Get makes one call, as soon as an instance is there.
func Get(t *testing.T, conn grpc.ClientConnInterface) *orders.Order {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reply, err := orders.NewOrdersClient(conn).Get(ctx, &orders.GetRequest{Id: "7"}, grpc.WaitForReady(true))
	if err != nil {
		t.Errorf("the call failed: %v", err)
	}
	return reply
}

// KillOne makes calls of Get and Place from several goroutines, kills the first instance
// in the middle, and returns when all calls have ended. Place may fail where it was under
// way on the killed instance, and must not have been executed more often than it was called.
func (f *Fleet) KillOne(t *testing.T, conn grpc.ClientConnInterface) Outcome {
	t.Helper()
	stub := orders.NewOrdersClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if Get(t, conn) == nil {
		t.FailNow()
	}
	var (
		mu    sync.Mutex
		o     Outcome
		place atomic.Int64
		half  sync.WaitGroup // callers that are in the middle
		all   sync.WaitGroup
	)
	half.Add(callers)
	for range callers {
		all.Go(func() {
			for n := range 2 * callsEach {
				if n == callsEach {
					half.Done()
				}
				if _, err := stub.Get(ctx, &orders.GetRequest{Id: "7"}); err != nil {
					mu.Lock()
					o.Failed, o.First = o.Failed+1, cmp.Or(o.First, err)
					mu.Unlock()
				}
				if n%5 == 0 {
					place.Add(1)
					_, _ = stub.Place(ctx, &orders.PlaceRequest{Item: "tea"})
				}
			}
		})
	}
	half.Wait()
	f.Instances[0].kill(ctx)
	all.Wait()
	var placed int64
	for n, i := range f.Instances {
		placed += i.placed.Load()
		if i.calls.Load() == 0 {
			t.Errorf("instance %d got no call", n)
		}
	}
	if placed > place.Load() {
		t.Errorf("Place was called %d times and executed %d times", place.Load(), placed)
	}
	return o
}

// SurvivesKill kills an instance, and fails the test if a call of Get failed.
func (f *Fleet) SurvivesKill(t *testing.T, conn grpc.ClientConnInterface) {
	t.Helper()
	if o := f.KillOne(t, conn); o.Failed > 0 {
		t.Errorf("%d of %d calls failed while one of %d instances was killed; the first: %v\n%v",
			o.Failed, 2*callers*callsEach, len(f.Instances), o.First, surecall.Explain(o.First))
	}
}

// RefusesNobody makes calls of which five in six fail wherever they go, by what they ask
// for. A breaker for the method would refuse the sixth, and answer for the others: the test
// fails if one is left in the way of conn.
func (f *Fleet) RefusesNobody(t *testing.T, conn grpc.ClientConnInterface) {
	t.Helper()
	stub := orders.NewOrdersClient(conn)
	for n := range 300 {
		id, want := bad, codes.Internal
		if n%6 == 0 {
			id, want = "7", codes.OK
		}
		if _, err := stub.Get(t.Context(), &orders.GetRequest{Id: id}); status.Code(err) != want {
			t.Fatalf("call %d of order %q: %v: want %v", n, id, err, want)
		}
	}
}
