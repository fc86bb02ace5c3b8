package sharding

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// recorder is a ClientConn whose connections do what a test tells them.
type recorder struct {
	balancer.ClientConn
	conns []*recorded
}

type recorded struct {
	balancer.SubConn
	tell     func(balancer.SubConnState)
	connects int
	shut     bool
	end      func() // of the producer
}

func (r *recorder) NewSubConn(_ []resolver.Address, o balancer.NewSubConnOptions) (balancer.SubConn, error) {
	sc := &recorded{tell: o.StateListener}
	r.conns = append(r.conns, sc)
	return sc, nil
}

func (r *recorded) Connect()  { r.connects++ }
func (r *recorded) Shutdown() { r.shut = true }

func (r *recorded) GetOrBuildProducer(b balancer.ProducerBuilder) (balancer.Producer, func()) {
	p, end := b.Build(nil)
	r.end = end
	return p, end
}

func (r *recorded) become(states ...connectivity.State) {
	for _, s := range states {
		if r.end != nil {
			r.end()
			r.end = nil
		}
		r.tell(balancer.SubConnState{ConnectivityState: s, ConnectionError: errRefused})
	}
}

type constError string

func (e constError) Error() string { return string(e) }

const errRefused = constError("refused")

func endpointOf(address string) resolver.Endpoint {
	return resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}}
}

// TestChild: the slot holds the connection exactly while it is READY, a lost one is
// dialled anew, and each transition is told once.
func TestChild(t *testing.T) {
	cc, slot := &recorder{}, Slot{}
	var seen []connectivity.State
	var reason error
	child := New(cc, balancer.BuildOptions{}).Add(endpointOf("a:1"), 0, &slot, func(s connectivity.State, err error) {
		if len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
		if err != nil {
			reason = err
		}
	}, (*Connection).Admit)
	conn := cc.conns[0]
	if conn.connects != 1 || slot.SubConn() != nil {
		t.Fatalf("begins with %d dials and %v in the slot", conn.connects, slot.SubConn())
	}
	conn.become(connectivity.Connecting, connectivity.Ready)
	if slot.SubConn() != conn {
		t.Fatal("connected, and not in the slot")
	}
	conn.become(connectivity.Idle)
	if slot.SubConn() != nil {
		t.Fatal("lost, and in the slot still")
	}
	if conn = cc.conns[len(cc.conns)-1]; conn.connects == 0 {
		t.Fatal("lost, and not dialled anew")
	}
	conn.become(connectivity.Connecting, connectivity.TransientFailure)
	if reason == nil || reason.Error() != string(errRefused) {
		t.Errorf("refused for %v", reason)
	}
	before := conn.connects
	conn.become(connectivity.Idle) // its wait is over
	if conn.connects != before+1 {
		t.Errorf("after its wait dialled %d times", conn.connects-before)
	}
	conn.become(connectivity.Connecting, connectivity.Ready)
	if slot.SubConn() != conn {
		t.Error("connected again, and not in the slot")
	}
	child.Update(endpointOf("a:1"))
	if slot.SubConn() != conn || conn.shut {
		t.Error("the same address anew cost the connection")
	}
	child.Close()
	if slot.SubConn() != nil || !conn.shut {
		t.Error("closed, and connected still")
	}
	want := []connectivity.State{
		connectivity.Connecting, connectivity.Ready, connectivity.Idle, connectivity.Connecting,
		connectivity.TransientFailure, connectivity.Ready,
	}
	if len(seen) != len(want) {
		t.Fatalf("told %v, want %v", seen, want)
	}
	for n := range want {
		if seen[n] != want[n] {
			t.Fatalf("told %v, want %v", seen, want)
		}
	}
}

// TestLateNews: a connection whose news arrives after its child was closed is not put
// into the slot, and a late close does not empty the slot of the child that came after.
func TestLateNews(t *testing.T) {
	cc, slot := &recorder{}, Slot{}
	children := New(cc, balancer.BuildOptions{})
	quiet := func(connectivity.State, error) {}
	old := children.Add(endpointOf("a:1"), 0, &slot, quiet, (*Connection).Admit)
	first := cc.conns[0]
	first.become(connectivity.Connecting)
	old.Close()
	first.become(connectivity.Ready)
	if slot.SubConn() != nil {
		t.Fatal("the connection of a closed child is in the slot")
	}
	next := children.Add(endpointOf("a:1"), 0, &slot, quiet, (*Connection).Admit)
	second := cc.conns[1]
	second.become(connectivity.Connecting, connectivity.Ready)
	old.Close()
	first.become(connectivity.Shutdown)
	if slot.SubConn() != second {
		t.Error("the old child's end emptied the slot")
	}
	next.Close()
}

// TestRetire: a child that is retired when its connection ends is closed, and not
// dialled once more.
func TestRetire(t *testing.T) {
	cc, slot := &recorder{}, Slot{}
	var child *Child
	child = New(cc, balancer.BuildOptions{}).Add(endpointOf("a:1"), 0, &slot, func(s connectivity.State, _ error) {
		if s == connectivity.Idle {
			child.Retire()
		}
	}, (*Connection).Admit)
	cc.conns[0].become(connectivity.Connecting, connectivity.Ready, connectivity.Idle)
	dials := 0
	for _, c := range cc.conns {
		dials += c.connects
	}
	if dials != 1 || slot.SubConn() != nil {
		t.Errorf("%d dials, want 1; in the slot: %v", dials, slot.SubConn())
	}
}

// TestMaxDials: of many children, so many dial at a time, and each that ends, however
// it ends, makes place for the next.
func TestMaxDials(t *testing.T) {
	cc := &recorder{}
	children := New(cc, balancer.BuildOptions{})
	const n = 3 * MaxDials
	slots, all := make([]Slot, n), make([]*Child, n)
	for i := range all {
		all[i] = children.Add(endpointOf("a:1"), 0, &slots[i], func(connectivity.State, error) {}, (*Connection).Admit)
	}
	dialled := func() (count int) {
		for _, c := range cc.conns {
			count += c.connects
		}
		return count
	}
	if got := dialled(); got != MaxDials {
		t.Fatalf("%d dials at once, want %d", got, MaxDials)
	}
	all[n-1].Close() // it waits: no place is free for that
	all[n-1].Close()
	if got := dialled(); got != MaxDials {
		t.Fatalf("a child that waited was closed, and %d dial", got)
	}
	cc.conns[0].become(connectivity.Connecting, connectivity.Ready)
	cc.conns[1].become(connectivity.Connecting, connectivity.TransientFailure)
	all[2].Close()
	if got := dialled(); got != MaxDials+3 {
		t.Errorf("three dials ended, and %d others began", got-MaxDials)
	}
	for i := range n - 1 {
		if c := cc.conns[i]; !c.shut && c.connects > 0 && i > 2 {
			c.become(connectivity.Connecting, connectivity.Ready)
		}
	}
	if got := dialled(); got != n-1 {
		t.Errorf("%d of %d dialled in the end", got, n-1)
	}
}

// TestAdmission: a connection is used, and told of, from when it is admitted and no
// earlier, once; work on it ends before the news of its end.
func TestAdmission(t *testing.T) {
	cc, slot := &recorder{}, Slot{}
	var seen []connectivity.State
	admit, ended := make(chan struct{}), false
	New(cc, balancer.BuildOptions{}).Add(endpointOf("a:1"), 0, &slot, func(s connectivity.State, _ error) {
		seen = append(seen, s)
		if s == connectivity.Idle && !ended {
			t.Error("the connection's end was told before its work ended")
		}
	}, func(c *Connection) {
		c.Go(func(ctx context.Context) {
			<-admit
			c.Admit()
			c.Admit()
			admit <- struct{}{}
			<-ctx.Done()
			ended = true
		})
	})
	conn := cc.conns[0]
	conn.become(connectivity.Connecting, connectivity.Ready)
	if slot.SubConn() != nil || slices.Contains(seen, connectivity.Ready) {
		t.Fatalf("in use before it was admitted; told %v", seen)
	}
	admit <- struct{}{}
	<-admit
	if slot.Connection() == nil || slot.SubConn() != conn {
		t.Fatal("admitted, and not in use")
	}
	conn.become(connectivity.Idle)
	if slot.Connection() != nil {
		t.Error("lost, and in use still")
	}
	if want := []connectivity.State{connectivity.Connecting, connectivity.Ready, connectivity.Idle, connectivity.Connecting}; !slices.Equal(slices.Compact(seen), want) {
		t.Errorf("told %v, want %v", seen, want)
	}
}

// TestTwoAddresses: of two addresses that connect at the same moment, pick_first chooses
// one and ends the other; the one that ended late must not empty the slot.
func TestTwoAddresses(t *testing.T) {
	cc, slot := &recorder{}, Slot{}
	ep := resolver.Endpoint{Addresses: []resolver.Address{{Addr: "a:1"}, {Addr: "a:2"}}}
	New(cc, balancer.BuildOptions{}).Add(ep, 0, &slot, func(connectivity.State, error) {}, (*Connection).Admit)
	first := cc.conns[0]
	first.become(connectivity.Connecting, connectivity.TransientFailure) // so that both are tried
	second := cc.conns[len(cc.conns)-1]
	second.become(connectivity.Connecting, connectivity.Ready)
	if first == second || slot.SubConn() != second {
		t.Fatal("the second address is connected, and not in the slot")
	}
	first.become(connectivity.Ready, connectivity.Shutdown) // news that was under way
	if slot.SubConn() != second {
		t.Error("an obsolete connection took the slot")
	}
}

// TestDialsByClass: dials that hang keep only those of their own class waiting.
func TestDialsByClass(t *testing.T) {
	cc := &recorder{}
	children := New(cc, balancer.BuildOptions{})
	slots := make([]Slot, MaxDials+2)
	for i := range slots {
		class := 0
		if i == len(slots)-1 {
			class = 1
		}
		children.Add(endpointOf("a:1"), class, &slots[i], func(connectivity.State, error) {}, (*Connection).Admit)
	}
	if last := cc.conns[len(slots)-1]; last.connects != 1 {
		t.Error("a dial of another class waits for those that hang")
	}
	if waiting := cc.conns[len(slots)-2]; waiting.connects != 0 {
		t.Errorf("more than %d of a class are dialled at a time", MaxDials)
	}
}
