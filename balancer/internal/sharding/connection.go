package sharding

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
)

// Slot holds the connection of one endpoint while there is one that was admitted. The
// zero value is empty.
type Slot struct{ admitted atomic.Pointer[Connection] }

// Connection returns the connection, or nil. It is one atomic load.
func (s *Slot) Connection() *Connection { return s.admitted.Load() }

// SubConn returns what a pick of the connection returns, or nil.
func (s *Slot) SubConn() balancer.SubConn {
	if c := s.admitted.Load(); c != nil {
		return c.SubConn
	}
	return nil
}

func (s *Slot) vacate(c *Connection) {
	if c != nil {
		s.admitted.CompareAndSwap(c, nil)
	}
}

// Connection is one connection from when it is made until it is lost. It is what gRPC
// calls a producer: a way to make calls on this connection and no other.
type Connection struct {
	balancer.SubConn // gRPC's own
	grpc.ClientConnInterface
	Address string

	child    *Child
	admitted bool // guarded by child.mu

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	mu     sync.Mutex
	ended  bool
	work   sync.WaitGroup
}

// Build implements gRPC's ProducerBuilder.
func (s *subConn) Build(conn any) (balancer.Producer, func()) {
	rpc, _ := conn.(grpc.ClientConnInterface)
	c := &Connection{SubConn: s.SubConn, ClientConnInterface: rpc, Address: s.address, child: s.child}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, c.end
}

// Go runs work until it returns, with a context that ends with the connection. What
// follows the connection's end waits for work to return. Go does nothing, and returns
// false, if the connection has ended.
func (c *Connection) Go(work func(context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.work.Go(func() { work(c.ctx) })
	return true
}

// end ends all work and waits for it: so nothing that it tells comes after the news of
// the connection's end.
func (c *Connection) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// Admit puts the connection to use, once; later calls do nothing.
func (c *Connection) Admit() {
	child := c.child
	child.mu.Lock()
	fresh := child.current == c && !c.admitted && !child.retired
	if fresh {
		c.admitted = true
		child.slot.admitted.Store(c)
	}
	known := child.state == connectivity.Ready // else pick_first is about to say so
	child.mu.Unlock()
	if fresh && known {
		child.changed(connectivity.Ready, nil)
	}
}
