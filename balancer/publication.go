package balancer

import (
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
)

const (
	// coalesceAbove is the number of instances from which pickers are published at most
	// once per coalesce: below it a build is so cheap that no delay is worth it.
	coalesceAbove = 100
	coalesce      = 10 * time.Millisecond
	// startPatience is how long after the first connection a starting client waits for
	// half of them: the first to be connected must not take all the load.
	startPatience = 100 * time.Millisecond
	// reconnectPatience is how long calls wait for the first of the lost connections to
	// come back, before they are refused instead.
	reconnectPatience = time.Second
	// keepIneligible is how long an instance that its breaker took out stays in the
	// table that the choice draws from.
	keepIneligible = 100 * time.Millisecond
)

var errTaken = errors.New("surecall: these dial options already serve another connection: call DialOptions once for each grpc.NewClient")

// publication decides when a picker is built, and which.
type publication struct {
	cc      balancer.ClientConn
	fleet   *Fleet // set by attach
	relevel func() // connects those of the priorities that have come to be dialled

	mu         sync.Mutex // also keeps pickers in order; taken before Fleet.mu
	closed     bool
	held       bool // an update is being applied
	last       int64
	timer      *time.Timer // nil: none is due
	dueAt      int64       // when it is
	firstReady int64
	levels     levels
}

// dialled returns up to which priority instances are connected.
func (p *publication) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.levels.dialled
}

// attach makes b the policy that serves f, unless another does.
func (b *lb) attach(f *Fleet) bool {
	if b.fleet == f {
		return true
	}
	f.mu.Lock()
	taken := f.lb != nil && f.lb != b
	if !taken {
		f.lb = b
	}
	f.mu.Unlock()
	if taken {
		return false
	}
	b.mu.Lock()
	b.publication.fleet = f
	b.mu.Unlock()
	return true
}

// detach ends publication and empties the fleet; the instances' state lingers.
func (b *lb) detach() {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	f := b.fleet
	if f == nil {
		return
	}
	now := f.now()
	f.mu.Lock()
	f.lb = nil
	f.settled = false // the next policy connects from nothing, as at the start
	for _, i := range *f.members.Load() {
		i.member, i.leftAt, i.lostAt = false, now, now
		f.delist(i)
	}
	f.members.Store(&[]*Instance{})
	f.version.Add(1)
	f.forgetKeys()
	f.mu.Unlock()
	f.updateDue()
}

// hold keeps publish back until release, so that an update of many instances makes
// one picker.
func (p *publication) hold() {
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
}

func (p *publication) release() {
	p.mu.Lock()
	p.held = false
	p.mu.Unlock()
	p.publish()
}

// changed publishes after a transition.
func (p *publication) changed(ready bool) {
	if ready {
		p.mu.Lock()
		if p.firstReady == 0 {
			p.firstReady = p.fleet.now()
		}
		p.mu.Unlock()
	}
	p.publish()
}

// republish has the fleet's present policy publish, if there is one.
func (f *Fleet) republish() {
	f.mu.Lock()
	b := f.lb
	f.mu.Unlock()
	if b != nil {
		b.publish()
	}
}

// publish publishes a picker, at once or when its time comes.
func (p *publication) publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.held || p.fleet == nil {
		return
	}
	now := p.fleet.now()
	members := *p.fleet.members.Load()
	if wait := p.last + int64(coalesce) - now; len(members) > coalesceAbove && wait > 0 && p.last != 0 {
		p.arm(time.Duration(wait))
		return
	}
	p.cc.UpdateState(p.build(members, now))
	p.last = p.fleet.now() // from the end: builds must not take up all the time there is
}

// arm has publish called after d, or when it is due already if that is earlier.
// Requires p.mu.
func (p *publication) arm(d time.Duration) {
	due := p.fleet.now() + int64(d)
	if p.closed || p.timer != nil && p.dueAt <= due {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.dueAt = due
	p.timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		if p.dueAt == due {
			p.timer = nil
		}
		p.mu.Unlock()
		p.publish()
	})
}

// build returns the state to publish. Requires p.mu.
func (p *publication) build(members []*Instance, now int64) balancer.State {
	p.prioritise(members, now)
	connected, dialled, failed, dark := p.fleet.connectedOf(members, p.levels.dialled, now)
	p.fleet.connectedNow.Store(int64(len(connected)))
	settled := p.fleet.settle(dialled, len(connected), failed, now, p.firstReady)
	switch {
	case p.fleet.config.Load().Plain:
		return p.fleet.plain(members)
	case !settled:
		if len(connected) > 0 {
			p.arm(startPatience - time.Duration(now-p.firstReady))
		}
		return balancer.State{ConnectivityState: connectivity.Connecting, Picker: queueing{}}
	case len(connected) > 0:
		p.fleet.enforceCap() // not before: half of the connections are no share to go by
		return balancer.State{ConnectivityState: connectivity.Ready, Picker: p.fleet.newPicker(connected, now)}
	case failed < dialled && dark < reconnectPatience:
		p.arm(reconnectPatience - dark)
		return balancer.State{ConnectivityState: connectivity.Connecting, Picker: queueing{}}
	default:
		return balancer.State{
			ConnectivityState: connectivity.TransientFailure,
			Picker:            &picker{fleet: p.fleet, refusal: p.fleet.describe()},
		}
	}
}

// connectedOf returns the members with a connection, how many are to have one, how many
// of those failed to get it, and for how long there has been no connection at all.
func (f *Fleet) connectedOf(members []*Instance, level int, now int64) (connected []*Instance, dialled, failed int, dark time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	connected = make([]*Instance, 0, len(members))
	for _, i := range members {
		if i.priority() <= level {
			dialled++
		}
		switch {
		case i.conn.SubConn() != nil:
			connected = append(connected, i)
		case i.priority() <= level && i.link == connectivity.TransientFailure:
			failed++
		}
	}
	switch {
	case len(connected) > 0, len(members) == 0:
		f.darkAt = 0
	case f.darkAt == 0:
		f.darkAt = now
	default:
		dark = time.Duration(now - f.darkAt)
	}
	return connected, dialled, failed, dark
}

// settle decides, once in a fleet's life, when it begins to serve: with half of the
// connections, or a while after the first, or when the rest has failed.
func (f *Fleet) settle(members, connected, failed int, now, firstReady int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = f.settled || members == 0 || connected*2 >= members || connected+failed == members ||
		connected > 0 && now-firstReady >= int64(startPatience)
	return f.settled
}

// newPicker builds a picker over the connected instances.
func (f *Fleet) newPicker(connected []*Instance, now int64) *picker {
	p := &picker{fleet: f, connected: connected, active: int(f.active.Load())}
	sum, ramping := 0.0, 0
	p.eligible = make([]candidate, 0, len(connected))
	for _, i := range connected {
		if i.marks.Load() != 0 || i.priority() != p.active {
			continue
		}
		if down := i.downSince.Load(); down != 0 && now-down > int64(keepIneligible) {
			continue
		}
		weight := float64(i.weight.Load())
		sum += weight
		p.eligible = append(p.eligible, candidate{i, weight})
		if i.rampStart.Load() != 0 {
			ramping++
		}
	}
	if len(p.eligible) == 0 {
		return p
	}
	mean := sum / float64(len(p.eligible))
	for n := range p.eligible {
		p.eligible[n].relative /= mean
		if ramping == len(p.eligible) {
			p.eligible[n].rampStart.Store(0) // all are new: nobody else could take the load
		}
	}
	p.chooser = f.config.Load().Policy.Choice.prepare(f, p.eligible)
	return p
}
