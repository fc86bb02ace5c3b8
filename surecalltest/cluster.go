package surecalltest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
)

// Service is the name under which a cluster's instances are registered.
const Service = "orders"

// Cluster is a service of several instances. It ends with its test.
type Cluster struct {
	// Registry is where the instances are registered. Set and Fail on it make faults of
	// discovery.
	Registry *memory.Registry

	t         testing.TB
	register  func(grpc.ServiceRegistrar, *Instance)
	mu        sync.Mutex
	instances []*Instance
	byAddress map[string]*Instance
}

// NewCluster starts n instances of the orders service and registers them.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	return NewClusterOf(t, n, func(s grpc.ServiceRegistrar, i *Instance) {
		orders.RegisterOrdersServer(s, ordersServer{id: i.ID()})
	})
}

// NewClusterOf starts n instances of a service of yours, which register adds to each
// instance's server, and registers them as [Service].
func NewClusterOf(t testing.TB, n int, register func(grpc.ServiceRegistrar, *Instance)) *Cluster {
	t.Helper()
	c := &Cluster{Registry: memory.New(), t: t, register: register, byAddress: map[string]*Instance{}}
	for range n {
		c.Add()
	}
	t.Cleanup(c.close)
	return c
}

// Add starts one more instance and registers it.
func (c *Cluster) Add() *Instance {
	c.mu.Lock()
	n := len(c.instances) + 1
	i := &Instance{
		cluster: c, id: fmt.Sprintf("%s-%d", Service, n),
		listed: discovery.Instance{
			ID: fmt.Sprintf("%s-%d", Service, n), Service: Service, Address: fmt.Sprintf("10.0.0.%d:80", n), Weight: 1, Incarnation: "1",
		},
	}
	c.instances = append(c.instances, i)
	c.byAddress[i.listed.Address] = i
	c.mu.Unlock()
	i.Start()
	i.List()
	return i
}

// Instance returns the n-th instance, from 0.
func (c *Cluster) Instance(n int) *Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.instances[n]
}

// Instances returns all instances, listed or not.
func (c *Cluster) Instances() []*Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Instance(nil), c.instances...)
}

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
		if i.isListed {
			set = append(set, i.listed)
		}
		i.mu.Unlock()
	}
	c.Registry.Set(Service, set...)
}

func (c *Cluster) close() {
	for _, i := range c.Instances() {
		i.Resume()
		i.Kill()
	}
}
