// Package sharding owns one pick_first child for each endpoint of a load balancing
// policy: pick_first knows how to connect to one endpoint that may have several
// addresses, and nothing else here does. A child's transition costs the same however
// many children there are.
package sharding

import (
	"errors"
	"sync"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// MaxDials is how many connections of a class are dialled at a time: a client of thousands of
// instances must not open thousands of sockets, and TLS handshakes, at once.
const MaxDials = 100

// MaxClass is the highest class of children. Each class has dials of its own: those that
// hang, to a datacenter that is gone, must not keep others waiting.
const MaxClass = 15

// Children makes children of one policy. Its methods, and those of a child but Retire,
// must be called one at a time, with no lock held that Changed takes.
type Children struct {
	cc    balancer.ClientConn
	opts  balancer.BuildOptions
	gates [MaxClass + 1]gate
	build balancer.Builder
}

// New returns Children that connect through cc.
func New(cc balancer.ClientConn, opts balancer.BuildOptions) *Children {
	c := &Children{cc: cc, opts: opts, build: balancer.Get(pickfirst.Name)}
	for class := range c.gates {
		c.gates[class].limit = MaxDials
	}
	return c
}

// Changed is told a child's new state and, in TRANSIENT_FAILURE, why. It is called
// with the child's lock held, or by whoever admits a connection, and must not call the
// child's methods but Retire. READY means a connection that was admitted.
type Changed func(s connectivity.State, err error)

// Attend is told of each connection that is made, before it is used, and has to see to
// it that it is admitted: at once, or from what it has the connection Go.
type Attend func(*Connection)

// Child makes and keeps the connection to one endpoint.
type Child struct {
	slot    *Slot
	gate    *gate
	policy  balancer.Balancer
	changed Changed
	attend  Attend

	mu      sync.Mutex // a leaf: nothing is called with it held
	state   connectivity.State
	current *Connection // READY, admitted or not
	retired bool
}

// Add starts a child for ep, which fills slot. It begins to connect at once, or when
// its turn among those of its class comes.
func (c *Children) Add(ep resolver.Endpoint, class int, slot *Slot, changed Changed, attend Attend) *Child {
	child := &Child{slot: slot, gate: &c.gates[class], changed: changed, attend: attend, state: connectivity.Connecting}
	child.policy = c.build.Build(&childConn{ClientConn: c.cc, child: child}, c.opts)
	child.Update(ep)
	return child
}

// Update hands the child its endpoint anew. Its connection stays if its address does.
func (c *Child) Update(ep resolver.Endpoint) {
	// pick_first refuses only an endpoint without addresses, and reports that as a
	// transition too.
	_ = c.policy.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: resolver.State{Endpoints: []resolver.Endpoint{ep}},
	})
}

// Close ends the child. Calls in flight on its connection finish. The slot may serve
// another child already.
func (c *Child) Close() {
	c.Retire()
	c.policy.Close()
}

// Retire empties the slot for good. Called from Changed, about a connection that ended,
// it also closes the child after that, with no further dial.
func (c *Child) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	c.slot.vacate(c.current)
}

// childConn is the ClientConn that pick_first sees.
type childConn struct {
	balancer.ClientConn
	child *Child
}

// NewSubConn learns which connection is the child's, and holds back its dials.
func (c *childConn) NewSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	sc := &subConn{child: c.child, listener: opts.StateListener}
	if len(addrs) > 0 {
		sc.address = addrs[0].Addr // pick_first makes one for each
	}
	opts.StateListener = sc.stateChanged
	raw, err := c.ClientConn.NewSubConn(addrs, opts)
	if err != nil {
		return nil, err
	}
	sc.SubConn = raw
	return sc, nil
}

// UpdateState takes the child's state. Of its picker only what it chose is used, because
// ours picks the connection itself. READY is told when the connection is admitted.
func (c *childConn) UpdateState(s balancer.State) {
	var err error
	if s.ConnectivityState == connectivity.Ready {
		// Of several addresses, more than one may have been connected at the same moment.
		if chosen, err := s.Picker.Pick(balancer.PickInfo{}); err == nil {
			c.child.begin(chosen.SubConn.(*subConn).conn)
		}
	}
	if s.ConnectivityState == connectivity.TransientFailure {
		if _, err = s.Picker.Pick(balancer.PickInfo{}); err == nil {
			err = errors.New("connection failed")
		}
	}
	child := c.child
	child.mu.Lock()
	child.state = s.ConnectivityState
	told := s.ConnectivityState != connectivity.Ready || child.current != nil && child.current.admitted
	child.mu.Unlock()
	if told {
		child.changed(s.ConnectivityState, err)
	}
}

// subConn is a connection as pick_first sees it.
type subConn struct {
	balancer.SubConn
	child    *Child
	address  string
	conn     *Connection // the latest; used by the listener and by what it calls
	listener func(balancer.SubConnState)
	turn     turn // guarded by the gate
}

func (s *subConn) stateChanged(state balancer.SubConnState) {
	if state.ConnectivityState != connectivity.Connecting {
		s.child.gate.leave(s)
	}
	if state.ConnectivityState == connectivity.Ready {
		// gRPC ends the producer at the next state, before it tells it.
		p, _ := s.SubConn.GetOrBuildProducer(s)
		s.conn = p.(*Connection)
	} else {
		s.child.lose(s.SubConn)
	}
	s.listener(state)

	// pick_first waits in IDLE, after a lost connection, for somebody to call. Its
	// lock was held when it said so; it is not any more.
	s.child.mu.Lock()
	idle, retired := s.child.state == connectivity.Idle, s.child.retired
	s.child.mu.Unlock()
	switch {
	case state.ConnectivityState == connectivity.Shutdown:
	case retired:
		s.child.policy.Close() // again, perhaps: it minds no repetition
	case idle:
		s.child.policy.ExitIdle()
	}
}

// begin hands a new connection to whoever attends to it.
func (c *Child) begin(conn *Connection) {
	c.mu.Lock()
	fresh := c.current != conn
	c.current = conn
	c.mu.Unlock()
	if fresh {
		c.attend(conn)
	}
}

// lose empties the slot if sc was what filled it.
func (c *Child) lose(sc balancer.SubConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && c.current.SubConn == sc {
		c.slot.vacate(c.current)
		c.current = nil
	}
}

// Connect dials, at once or when a place is free.
func (s *subConn) Connect() { s.child.gate.enter(s) }

// Shutdown closes the connection, gracefully, or gives up waiting for a place.
func (s *subConn) Shutdown() {
	s.child.gate.leave(s)
	s.SubConn.Shutdown()
}
