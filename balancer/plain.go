package balancer

import (
	"errors"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// plainPicker picks as gRPC's round_robin does: each connected instance in turn, whatever is
// known of it. All that goes on beside a pick does as ever, but that attempts have no ID: a
// server of package lifecycle that leaves refuses those that have one, and serves all others.
type plainPicker struct {
	fleet     *Fleet
	connected []*Instance
}

func (p *plainPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	f := p.fleet
	a, ok := info.Ctx.Value(attemptKey{}).(*Attempt)
	if !ok || a.Fleet != f {
		a = &Attempt{Context: info.Ctx, Fleet: f}
	}
	a.replace()
	now := a.Begun
	if a.Begun = 0; now == 0 {
		now = f.now()
	}
	i := p.connected[f.turn.Add(1)%uint64(len(p.connected))]
	if id := a.pin(); id != "" {
		if i = p.withID(id); i == nil {
			return balancer.PickResult{}, (&picker{fleet: f, connected: p.connected}).none(a, info.FullMethodName, false)
		}
	}
	sc := i.conn.SubConn()
	if sc == nil {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable // the next picker is on its way
	}
	if !i.rehearsed.fit(i) {
		i.rehearsed.avoided.Add(1)
	}
	a.plain, a.wouldRefuse = true, false
	if !a.enter(i, now) {
		i.rehearsed.full.Add(1)
		a.wouldRefuse = !p.anyRoom(a)
	}
	return a.begin(i, sc, breaker.Trial{}, now), nil
}

// withID returns the connected instance of that ID; nil: there is none.
func (p *plainPicker) withID(id string) *Instance {
	for _, i := range p.fleet.withID(id) {
		if i.conn.SubConn() != nil {
			return i
		}
	}
	return nil
}

// anyRoom reports whether an instance has a slot for a.
func (p *plainPicker) anyRoom(a *Attempt) bool {
	for _, i := range p.connected {
		if !a.full(i) {
			return true
		}
	}
	return false
}

// WouldRefuse reports whether the attempt went to its instance only because the fleet is
// plain, and would have been refused else: all instances are at their limits.
func (a *Attempt) WouldRefuse() bool { return a.wouldRefuse }

// plain returns the state to publish when the choice is plain: what round_robin would.
func (f *Fleet) plain(members []*Instance) balancer.State {
	var connected, all []*Instance
	var errs []error
	connecting := false
	f.mu.Lock()
	for _, i := range members {
		switch {
		case i.info.Load().Absent || i.standby:
		case i.conn.SubConn() != nil:
			all = append(all, i)
			if i.priority() == int(f.active.Load()) {
				connected = append(connected, i)
			}
		case i.link == connectivity.TransientFailure:
			errs = append(errs, i.lastErr)
		default:
			connecting = true
		}
	}
	f.mu.Unlock()
	if len(connected) == 0 {
		connected = all // calls are about to go there
	}
	switch {
	case len(connected) > 0:
		return balancer.State{ConnectivityState: connectivity.Ready, Picker: &plainPicker{f, connected}}
	case connecting:
		return balancer.State{ConnectivityState: connectivity.Connecting, Picker: queueing{}}
	case len(errs) == 0:
		errs = append(errs, errors.New("no children to pick from")) // as round_robin says it
	}
	return balancer.State{ConnectivityState: connectivity.TransientFailure, Picker: &plainRefusal{fleet: f, errs: errs}}
}

// plainRefusal tells the error of each instance's connection in turn. They are no statuses,
// so that calls that wait for ready wait.
type plainRefusal struct {
	fleet *Fleet
	errs  []error
}

func (p *plainRefusal) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, p.errs[p.fleet.turn.Add(1)%uint64(len(p.errs))]
}

// rehearsed is what would have become of an instance since the choice is plain.
type rehearsed struct {
	ejections atomic.Uint64
	avoided   atomic.Uint64 // attempts that it got while it would have been out
	full      atomic.Uint64 // and while it was at its limit
}

func (r *rehearsed) reset() {
	r.ejections.Store(0)
	r.avoided.Store(0)
	r.full.Store(0)
}

// fit reports whether i would be eligible, were nothing a rehearsal.
func (*rehearsed) fit(i *Instance) bool {
	b := i.breaker.Load()
	return i.marks.Load() == 0 && (b == nil || breaker.Decided(b.Word()) == breaker.StateClosed)
}

// Rehearsal is what would have become of one instance since [Config.Plain] was set.
type Rehearsal struct {
	ID        string
	Address   string
	Ejections uint64      // how often it would have been ejected, for failures or for hanging
	Avoided   uint64      // attempts that it got while calls would have passed it over
	Full      uint64      // attempts that it got while it was at its limit of concurrency
	Now       event.State // what it would be now
	Why       string      // why that is not Eligible; empty if it is
}

// Rehearsals returns what would have become of each instance, in the order of the source.
func (f *Fleet) Rehearsals() []Rehearsal {
	all := f.Status()
	rehearsals := make([]Rehearsal, 0, len(all))
	for _, s := range all {
		r := Rehearsal{ID: s.ID, Address: s.Address, Now: s.State, Why: s.Why}
		if s.Breaker.DryRun && s.Breaker.State != breaker.StateClosed && s.Eligible() {
			r.Now, r.Why = event.Ejected, "its breaker would be "+s.Breaker.State.String()
		}
		for _, i := range f.withID(s.ID) {
			if i.address == s.Address {
				r.Ejections, r.Avoided, r.Full = i.rehearsed.ejections.Load(), i.rehearsed.avoided.Load(), i.rehearsed.full.Load()
			}
		}
		rehearsals = append(rehearsals, r)
	}
	return rehearsals
}

// wouldChange tells of a change that nothing follows from. It reports whether the change is
// of that kind: a plain choice heeds connections and nothing else.
func (f *Fleet) wouldChange(i *Instance, from, to event.State, why string) bool {
	heeded := func(s event.State) bool {
		return s == event.Standby || s == event.Connecting || s == event.Eligible || s == event.Failed
	}
	c := f.config.Load()
	if !c.Plain || heeded(from) && heeded(to) {
		return false
	}
	f.emit(event.InstanceWouldChange{Service: c.Service, Instance: i.id, Address: i.address, From: string(from), To: string(to), Why: why})
	return true
}
