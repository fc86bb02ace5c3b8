package balancer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/endpoint"
)

// stubCC is gRPC as the policy sees it: connections that come and go as a test says.
// Like gRPC, it delivers transitions one after the other, on the goroutine of drain.
type stubCC struct {
	balancer.ClientConn
	mu     sync.Mutex
	queue  []func()
	conns  map[string]*stubConn // the latest to each address
	dials  int
	refuse map[string]bool          // addresses where nobody listens
	rpc    grpc.ClientConnInterface // makes the calls of producers; nil: nobody does
	state  balancer.State
	states int
}

type stubConn struct {
	balancer.SubConn
	cc       *stubCC
	address  string
	listener func(balancer.SubConnState)
	down     bool
	end      func() // of the producer
}

// GetOrBuildProducer makes a producer whose calls the test answers, if it does.
func (sc *stubConn) GetOrBuildProducer(b balancer.ProducerBuilder) (balancer.Producer, func()) {
	p, end := b.Build(sc.cc.rpc)
	sc.end = end
	return p, end
}

func (sc *stubConn) endProducer() {
	if sc.end != nil {
		sc.end()
		sc.end = nil
	}
}

func (c *stubCC) NewSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	sc := &stubConn{cc: c, address: addrs[0].Addr, listener: opts.StateListener}
	c.mu.Lock()
	c.conns[sc.address] = sc
	c.mu.Unlock()
	return sc, nil
}

func (c *stubCC) UpdateState(s balancer.State) {
	c.mu.Lock()
	c.state = s
	c.states++
	c.mu.Unlock()
}

func (c *stubCC) later(sc *stubConn, s connectivity.State, err error) {
	c.queue = append(c.queue, func() {
		if !sc.down || s == connectivity.Shutdown {
			sc.endProducer()
			sc.listener(balancer.SubConnState{ConnectivityState: s, ConnectionError: err})
		}
	})
}

func (sc *stubConn) Connect() {
	c := sc.cc
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	c.later(sc, connectivity.Connecting, nil)
	if c.refuse[sc.address] {
		c.later(sc, connectivity.TransientFailure, errors.New("connection refused"))
	} else {
		c.later(sc, connectivity.Ready, nil)
	}
}

func (sc *stubConn) Shutdown() {
	sc.cc.mu.Lock()
	defer sc.cc.mu.Unlock()
	sc.down = true
	sc.cc.later(sc, connectivity.Shutdown, nil)
}

// step delivers n transitions, or as many as there are.
func (c *stubCC) step(n int) (delivered bool) {
	for range n {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return false
		}
		next := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		next()
	}
	return true
}

// drain delivers transitions until there are none.
func (c *stubCC) drain() {
	for c.step(1) {
	}
}

// lose ends the connection to an address, or the wait after a refused dial: gRPC says
// IDLE to both.
func (c *stubCC) lose(address string) {
	c.mu.Lock()
	c.later(c.conns[address], connectivity.Idle, nil)
	c.mu.Unlock()
	c.drain()
}

// rig is a fleet under its policy on a stubCC.
type rig struct {
	fleet *Fleet
	cc    *stubCC
	lb    *lb
}

// newRig returns a rig with a seeded source of randomness. Its breakers are off unless
// config has some.
func newRig(c Config) *rig {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(1, 2))
	c.Service = "orders"
	c.Health.Unwatched = true // nobody is there to be asked
	if c.Random == nil {
		c.Random = func() uint64 {
			mu.Lock()
			defer mu.Unlock()
			return r.Uint64()
		}
	}
	if c.Refuse == nil {
		c.Refuse = func(string, Refusal) error { return errRefused }
	}
	x := &rig{fleet: NewFleet(c), cc: &stubCC{conns: map[string]*stubConn{}, refuse: map[string]bool{}}}
	x.build()
	return x
}

var errRefused = errors.New("refused")

func (r *rig) build() { r.lb = builder{}.Build(r.cc, balancer.BuildOptions{}).(*lb) }

// instances returns n instances: weight(i) of the i-th, from 0; nil: all 1.
func instances(n int, weight func(int) int) []discovery.Instance {
	all := make([]discovery.Instance, n)
	for i := range all {
		all[i] = discovery.Instance{ID: fmt.Sprintf("i%d", i), Address: address(i), Weight: 1, Incarnation: "1"}
		if weight != nil {
			all[i].Weight = weight(i)
		}
	}
	return all
}

func address(n int) string { return fmt.Sprintf("10.%d.%d.1:80", n/256, n%256) }

// set is what a resolver does, and then all connects that can.
func (r *rig) set(all []discovery.Instance) {
	r.tell(all)
	r.cc.drain()
}

func (r *rig) tell(all []discovery.Instance) {
	eps := make([]resolver.Endpoint, len(all))
	for n, i := range all {
		eps[n] = endpoint.New(i, false)
	}
	_ = r.lb.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: resolver.State{Endpoints: eps}, BalancerConfig: lbConfig{fleet: r.fleet},
	})
}

// pick begins an attempt at now, with the last picker published.
func (r *rig) pick(a *Attempt, now int64) (*Instance, error) {
	a.Fleet, a.Begun = r.fleet, now
	if a.Context == nil {
		a.Context = context.Background()
	}
	_, err := r.picker().Pick(balancer.PickInfo{Ctx: a, FullMethodName: "/orders.v1.Orders/Get"})
	return a.instance, err
}

func (r *rig) picker() balancer.Picker {
	r.cc.mu.Lock()
	defer r.cc.mu.Unlock()
	return r.cc.state.Picker
}

// end ends an attempt as an answer or a failure does.
func (r *rig) end(a *Attempt, v breaker.Verdict, now int64) {
	elapsed := now - a.Picked()
	a.finished(balancer.DoneInfo{BytesSent: true})
	switch v {
	case breaker.Success:
		r.fleet.Sample(a.instance, nanoseconds(elapsed), now)
	case breaker.Failure, breaker.RatioFailure:
		r.fleet.Charge(a.instance, nanoseconds(elapsed), now)
	}
	a.Judge(v)
}

// published returns how many pickers there have been.
func (r *rig) published() int {
	r.cc.mu.Lock()
	defer r.cc.mu.Unlock()
	return r.cc.states
}

func (r *rig) member(t testing.TB, id string) *Instance {
	t.Helper()
	for _, i := range *r.fleet.members.Load() {
		if i.id == id {
			return i
		}
	}
	t.Fatalf("%s is not in the fleet", id)
	return nil
}
