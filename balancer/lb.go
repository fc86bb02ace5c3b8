package balancer

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/balancer/internal/sharding"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/endpoint"
)

// outage is how long without a connection an instance may be before it starts slowly
// again: longer than a reconnect, shorter than a process needs to lose its caches.
const outage = 10 * time.Second

// lb is the LB policy of one connection. It connects the instances that the resolver
// names and publishes pickers; what it learns of them goes into the fleet.
//
// gRPC calls its methods one at a time. A child's transitions arrive on other
// goroutines too, with the child's lock held: so nothing here calls a child with mu held.
type lb struct {
	calls    sync.Mutex // of gRPC's, and redial; taken before all others, a child's too
	closed   bool
	children *sharding.Children
	links    map[*Instance]*link

	publication
}

// link is one instance's place in the policy.
type link struct {
	child    atomic.Pointer[sharding.Child] // nil: stands by
	endpoint resolver.Endpoint
	ended    chan struct{} // closed when an absent instance's connection has ended
	once     sync.Once
}

func newLB(cc balancer.ClientConn, opts balancer.BuildOptions) *lb {
	b := &lb{links: make(map[*Instance]*link)}
	b.children = sharding.New(cc, opts)
	b.publication.cc, b.relevel = cc, b.redial
	return b
}

// UpdateClientConnState takes the resolver's set. An empty one is an answer like any
// other: the resolver has decided that it is true.
func (b *lb) UpdateClientConnState(s balancer.ClientConnState) error {
	config, ok := s.BalancerConfig.(lbConfig)
	if !ok {
		return errors.New("balancer: the policy " + Name + " needs a client of package surecall")
	}
	if !b.attach(config.fleet) {
		b.cc.UpdateState(balancer.State{ConnectivityState: connectivity.TransientFailure, Picker: errPicker{errTaken}})
		return nil
	}
	b.calls.Lock()
	defer b.calls.Unlock()
	b.hold()
	if why := endpoint.Why(s.ResolverState.Attributes); why != "" {
		b.fleet.note(errors.New(why))
	}
	listed := make(map[*Instance]bool, len(s.ResolverState.Endpoints))
	for _, ep := range s.ResolverState.Endpoints {
		if i := b.admit(ep); i != nil {
			listed[i] = true
		}
	}
	b.drop(listed)
	b.fleet.updateDue() // who comes back may be ejected still
	b.release()
	return nil
}

// admit makes ep's instance a member and connects it, or tells what changed. It
// returns nil if the instance is absent and has no connection to live on.
func (b *lb) admit(ep resolver.Endpoint) *Instance {
	info := endpoint.Of(ep)
	id := identity{info.ID, endpoint.Address(ep), info.Incarnation}
	if info.Absent {
		if i := b.fleet.member(id); i == nil || i.conn.SubConn() == nil || b.fleet.config.Load().Off.Doubt {
			return nil
		}
	}
	i, known := b.fleet.join(id, info)
	l := b.links[i]
	if l != nil && l.live() {
		if child := l.child.Load(); child != nil && !sameAddresses(l.endpoint, ep) {
			child.Update(ep)
		}
		l.endpoint = ep
	} else {
		if !known && b.fleet.listening() {
			b.fleet.emit(event.InstanceAdded{
				Service: b.fleet.config.Load().Service, Instance: i.id, Address: i.address, Weight: int(i.weight.Load()),
			})
		}
		l = newLink(ep)
		b.links[i] = l
	}
	b.place(i, l, b.dialled())
	b.fleet.show(i, "listed by the source")
	return i
}

func newLink(ep resolver.Endpoint) *link {
	return &link{endpoint: ep, ended: make(chan struct{})}
}

// place connects an instance if its priority is one that is dialled, or has it stand by.
func (b *lb) place(i *Instance, l *link, dialled int) {
	f, wanted := b.fleet, i.priority() <= dialled
	switch {
	case wanted && l.child.Load() == nil:
		f.mu.Lock()
		if i.standby { // it has not been away, only not needed
			i.newcomer, i.lostAt = false, f.now()
		}
		i.standby, i.pending, i.dialledAt = false, true, f.now()
		f.mu.Unlock()
		l.child.Store(b.children.Add(l.endpoint, i.priority(), &i.conn,
			func(s connectivity.State, err error) { b.linkChanged(i, l, s, err) },
			func(conn *sharding.Connection) { f.attend(i, conn) }))
	case !wanted:
		f.mu.Lock()
		if i.link == connectivity.Ready {
			i.lostAt = f.now()
		}
		i.standby, i.link = true, connectivity.Idle
		f.mu.Unlock()
		if l.child.Load() != nil {
			l.close()
			i.leave(f.now())
			b.links[i] = newLink(l.endpoint)
		}
	}
}

// redial connects the instances of a priority that has come to be dialled, or the
// other way round.
func (b *lb) redial() {
	b.calls.Lock()
	defer b.calls.Unlock()
	if b.closed {
		return
	}
	dialled := b.dialled()
	b.hold()
	for i, l := range b.links {
		if l.live() {
			b.place(i, l, dialled)
			b.fleet.show(i, "the number of those with a better priority changed")
		}
	}
	b.release()
}

// drop takes out the members that are not listed. Their calls in flight finish.
func (b *lb) drop(listed map[*Instance]bool) {
	gone := make(map[*Instance]string)
	for i, l := range b.links {
		if !listed[i] {
			delete(b.links, i)
			if l.live() {
				gone[i] = "no longer listed by the source"
				l.close()
			}
		}
	}
	b.fleet.leave(gone)
}

// linkChanged is told of each transition of an instance's connection. The child's lock
// may be held.
func (b *lb) linkChanged(i *Instance, l *link, s connectivity.State, err error) {
	if !l.live() {
		return
	}
	f := b.fleet
	why, now, reborn := "connecting", f.now(), false
	f.mu.Lock()
	was := i.link
	i.link = s
	switch s {
	case connectivity.Ready:
		why, i.pending = "connected", false
		reborn = f.connected(i, now)
	case connectivity.TransientFailure:
		why = err.Error()
		i.refused, i.pending, i.lastErr = true, false, err
		f.lastErr, f.errAt = err, now
	default:
		if was == connectivity.Ready {
			why = "connection lost"
			i.lostAt = now
		}
	}
	ended := was == connectivity.Ready && s != connectivity.Ready && i.info.Load().Absent
	f.mu.Unlock()

	if was == connectivity.Ready && s != connectivity.Ready {
		i.leave(now) // its streams, if it was asked to go, are the last
	}
	if ended {
		// Its connection was all it lived on.
		l.once.Do(func() { close(l.ended) })
		if child := l.child.Load(); child != nil {
			child.Retire()
		}
		f.leave(map[*Instance]string{i: "no longer listed by the source, and its connection ended"})
	}
	if br := i.keptBreaker.Load(); reborn && br != nil {
		br.ClearRun()
	}
	f.show(i, why)
	b.changed(s == connectivity.Ready)
}

// connected notes a new connection of i, and returns whether it follows a refused one:
// nobody listened in between, so it is another process or as good as one. Requires
// Fleet.mu.
func (f *Fleet) connected(i *Instance, now int64) (reborn bool) {
	reborn = i.refused
	if reborn {
		i.latency.forget()
		i.yield.Store(nil)
	}
	if f.darkAt != 0 {
		f.revived = now
	}
	// Those who were out when nobody was in come back together, at their full share.
	together := i.lostAt <= f.revived && now-f.revived <= int64(outage)
	if !together && (i.newcomer || f.settled && now-i.lostAt > int64(outage)) {
		i.rampStart.Store(now)
	}
	if !i.has(notServing) {
		i.clear(draining) // whoever takes connections and serves is not leaving
	}
	i.refused, i.newcomer, i.lastErr = false, false, nil
	return reborn
}

// ResolverError is told when the source has nothing at all.
func (b *lb) ResolverError(err error) {
	if b.fleet == nil { // before the first set
		b.cc.UpdateState(balancer.State{ConnectivityState: connectivity.TransientFailure, Picker: errPicker{err}})
		return
	}
	b.fleet.note(err)
	b.publish()
}

// note keeps an error of the source, for those who ask why there is no instance.
func (f *Fleet) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastErr, f.errAt = err, f.now()
}

// UpdateSubConnState is never called: every connection has its own listener.
func (b *lb) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle does nothing: children connect by themselves.
func (b *lb) ExitIdle() {}

// Close leaves the fleet, with all its state, to the policy that may come after.
func (b *lb) Close() {
	b.calls.Lock()
	defer b.calls.Unlock()
	b.closed = true
	b.detach()
	for i, l := range b.links {
		l.close()
		delete(b.links, i)
	}
}

// close ends the link. Calls in flight on its connection finish.
func (l *link) close() {
	l.once.Do(func() { close(l.ended) })
	if child := l.child.Load(); child != nil {
		child.Close()
	}
}

func (l *link) live() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

func sameAddresses(a, b resolver.Endpoint) bool {
	if len(a.Addresses) != len(b.Addresses) {
		return false
	}
	for i := range a.Addresses {
		if !a.Addresses[i].Equal(b.Addresses[i]) {
			return false
		}
	}
	return true
}

// errPicker refuses every call with one error.
type errPicker struct{ err error }

func (p errPicker) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, p.err
}
