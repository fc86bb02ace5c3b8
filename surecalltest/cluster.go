package surecalltest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// Service is the name under which a cluster's instances are registered.
const Service = "orders"

// Cluster is a service of several instances. It ends with its test. Its methods are safe for
// concurrent use. An argument that makes no sense fails the test and changes nothing.
type Cluster struct {
	// Registry is where the instances are registered.
	Registry *memory.Registry

	t          testing.TB
	register   func(grpc.ServiceRegistrar, *Instance)
	options    []grpc.ServerOption
	background sync.WaitGroup // what Kill does not wait for

	mu        sync.Mutex // taken before an instance's
	instances []*Instance
	byAddress map[string]*Instance
	empty     bool // see EmptyList
	closed    bool
}

// NewCluster starts n instances of the orders service and registers them. Their servers are
// made with opts: see [NewClusterOf].
func NewCluster(t testing.TB, n int, opts ...grpc.ServerOption) *Cluster {
	t.Helper()
	return NewClusterOf(t, n, func(s grpc.ServiceRegistrar, i *Instance) {
		orders.RegisterOrdersServer(s, ordersServer{id: i.ID()})
	}, opts...)
}

// NewClusterOf starts n instances of a service of yours, which register adds to the server
// of each instance, at each Start of it, and registers them as [Service]. Their servers are
// made with opts. Interceptors belong into grpc.ChainUnaryInterceptor and
// grpc.ChainStreamInterceptor: they run inside of the faults, as part of the handler.
func NewClusterOf(t testing.TB, n int, register func(grpc.ServiceRegistrar, *Instance), opts ...grpc.ServerOption) *Cluster {
	t.Helper()
	if n < 0 || register == nil {
		t.Fatalf("surecalltest: new cluster: %d instances, and a function to register their service that is nil: %v: want 0 or more, and one", n, register == nil)
	}
	c := &Cluster{Registry: memory.New(), t: t, register: register, options: opts, byAddress: map[string]*Instance{}}
	t.Cleanup(c.close)
	for range n {
		c.Add()
	}
	return c
}

// Add makes one more instance join: it is started, and registered.
func (c *Cluster) Add() *Instance {
	c.t.Helper()
	return c.add(nil)
}

// AddLifecycle makes one more instance join whose server is one of package lifecycle: it
// refuses with marks that its callers believe, and by Stop and Leave it drains as d says.
// Each Start is a new incarnation.
func (c *Cluster) AddLifecycle(d lifecycle.Drain) *Instance {
	c.t.Helper()
	return c.add(&d)
}

func (c *Cluster) add(d *lifecycle.Drain) *Instance {
	c.t.Helper()
	c.mu.Lock()
	n := len(c.instances) + 1
	i := &Instance{
		cluster: c, number: n, id: fmt.Sprintf("%s-%d", Service, n), drain: d,
		ending: map[*life]struct{}{}, counts: counts{byMethod: map[string]int{}},
	}
	i.listed = discovery.Instance{ID: i.id, Service: Service, Address: fmt.Sprintf("10.0.0.%d:80", n), Weight: 1, Incarnation: "1"}
	c.instances = append(c.instances, i)
	c.byAddress[i.listed.Address] = i
	c.mu.Unlock()
	i.Start()
	i.List()
	return i
}

// Instance returns the n-th instance, from 0, in the order in which they joined.
func (c *Cluster) Instance(n int) *Instance {
	c.t.Helper()
	all := c.Instances()
	if n < 0 || n >= len(all) {
		c.t.Fatalf("surecalltest: Instance(%d): want 0 or more, and less than %d", n, len(all))
	}
	return all[n]
}

// Instances returns all instances, listed or not, running or not.
func (c *Cluster) Instances() []*Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.instances)
}

// Calls is how many calls have reached the instances: see [Instance.Calls].
func (c *Cluster) Calls() int {
	n := 0
	for _, i := range c.Instances() {
		n += i.Calls()
	}
	return n
}

// EmptyList makes the registry list no instance, though all of them run, until Relist.
func (c *Cluster) EmptyList() { c.setEmpty(true) }

// Relist ends EmptyList: what was listed is listed again.
func (c *Cluster) Relist() { c.setEmpty(false) }

func (c *Cluster) setEmpty(empty bool) {
	c.mu.Lock()
	c.empty = empty
	c.mu.Unlock()
	c.publish()
}

// SourceDown makes the registry answer nothing but err, until SourceUp. What changes
// meanwhile is seen then.
func (c *Cluster) SourceDown(err error) {
	c.t.Helper()
	if err == nil {
		c.errorf("SourceDown(nil): want an error")
		return
	}
	c.Registry.Fail(err)
}

// SourceUp ends SourceDown.
func (c *Cluster) SourceUp() { c.Registry.Recover() }

// Options are what makes a client of the cluster: its registry, its connections, no
// transport security.
func (c *Cluster) Options() surecall.Option {
	return surecall.WithOptions(
		surecall.WithSource(c.Registry), surecall.WithContextDialer(c.Dial), surecall.WithInsecure(),
	)
}

// Client returns a client with opts, which is closed with the test.
func (c *Cluster) Client(opts ...surecall.Option) *surecall.Client {
	c.t.Helper()
	client, err := surecall.NewClient("memory:///"+Service, append([]surecall.Option{c.Options()}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Dial connects to an instance by its address, as a client of the cluster does.
func (c *Cluster) Dial(ctx context.Context, address string) (net.Conn, error) {
	c.mu.Lock()
	i := c.byAddress[address]
	c.mu.Unlock()
	if i == nil {
		return nil, fmt.Errorf("dial %s: no such instance", address)
	}
	return i.dial(ctx)
}

// publish writes the listed instances into the registry.
func (c *Cluster) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var set []discovery.Instance
	for _, i := range c.instances {
		i.mu.Lock()
		if i.isListed && !c.empty {
			set = append(set, i.listed)
		}
		i.mu.Unlock()
	}
	c.Registry.Set(Service, set...)
}

// errorf fails the test, from whichever goroutine.
func (c *Cluster) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("surecalltest: "+format, args...)
}

// later does what nobody waits for but the end of the test.
func (c *Cluster) later(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		go do()
		return
	}
	c.background.Go(do)
}

func (c *Cluster) close() {
	for _, i := range c.Instances() {
		i.Resume()
		i.Kill()
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.background.Wait()
}
