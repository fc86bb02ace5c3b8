package surecalltest

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/lifecycle"
)

// Instance is one server of a cluster. Its methods may be called at any time, from any
// goroutine.
type Instance struct {
	cluster *Cluster
	number  int // in the cluster, from 1
	id      string
	drain   *lifecycle.Drain // nil: a plain server
	process gate             // shut by Hang
	network gate             // shut by BlackHole
	dials   atomic.Int64

	changing sync.Mutex // held over a change of listed; taken before mu

	mu         sync.Mutex
	listed     discovery.Instance
	isListed   bool
	life       *life // nil: not running
	lives      int
	ending     map[*life]struct{} // those that stop or leave
	notServing bool
	queue      *queue
	delay      func(method string, call int64) time.Duration
	fail       func(method string, call int64) error
	lose       float64 // share
	killAfter  int     // executions from now; 0: does not
	counts     counts
}

// ID is the ID that the instance is registered under.
func (i *Instance) ID() string { return i.id }

// Address is where the instance is registered, for [Cluster.Dial]. It leads nowhere else.
func (i *Instance) Address() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.listed.Address
}

// Start runs the server, if it does not run. It does not list it.
func (i *Instance) Start() {
	l := i.begin()
	if l == nil {
		return
	}
	l.serve()
	if i.drain != nil {
		i.cluster.publish()
	}
}

// begin begins a life; nil if the instance runs.
func (i *Instance) begin() *life {
	i.changing.Lock()
	defer i.changing.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.life != nil {
		return nil
	}
	i.lives++
	l := i.newLife()
	if i.life = l; i.notServing {
		l.health.Shutdown()
	}
	if i.drain != nil {
		i.isLifecycle(i.lives)
	}
	return l
}

// Kill ends the server and all its connections at once, also while it stops or leaves. It
// stays listed. In a BlackHole its callers learn of it only when that ends, as they do of
// a machine without power.
func (i *Instance) Kill() {
	for _, l := range i.detach() {
		l.kill()
	}
}

// detach makes the instance refuse connections and answer nothing, and returns the lives
// to be killed.
func (i *Instance) detach() []*life {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.life != nil {
		i.ending[i.life] = struct{}{}
		i.life = nil
	}
	lives := slices.Collect(maps.Keys(i.ending))
	clear(i.ending)
	for _, l := range lives {
		close(l.killed)
	}
	return lives
}

// Stop ends the server gracefully: its connections get a GOAWAY, and it returns when the
// calls in flight have ended. It stays listed.
func (i *Instance) Stop() { i.stop(func(*life) {}) }

// Leave ends the server as one that was told to: it is delisted, its health service says
// NOT_SERVING, and then it stops as Stop does. An instance of [Cluster.AddLifecycle] marks
// its answers and drains in between. Start and List bring it back.
func (i *Instance) Leave() {
	i.stop(func(l *life) {
		i.Delist()
		if l.managed == nil { // else it says so itself
			l.health.Shutdown()
		}
	})
}

func (i *Instance) stop(first func(*life)) {
	i.mu.Lock()
	l := i.life
	if l == nil {
		i.mu.Unlock()
		return
	}
	i.ending[l] = struct{}{}
	if l.managed == nil { // one that drains takes connections meanwhile
		i.life = nil
	}
	i.mu.Unlock()
	first(l)
	l.stop()
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.ending, l)
	if i.life == l {
		i.life = nil
	}
}

// List registers the instance.
func (i *Instance) List() { i.setListed(true) }

// Delist takes it out of the registry. It goes on running.
func (i *Instance) Delist() { i.setListed(false) }

func (i *Instance) setListed(listed bool) {
	i.mu.Lock()
	i.isListed = listed
	i.mu.Unlock()
	i.cluster.publish()
}

// Change registers it with whatever change makes of it: a weight, a health, a new
// incarnation. Its ID and address must stay. change must not call Change or Start.
func (i *Instance) Change(change func(*discovery.Instance)) {
	if change == nil {
		i.cluster.errorf("Change(nil): want a function")
		return
	}
	if i.change(change) {
		i.cluster.publish()
	}
}

func (i *Instance) change(change func(*discovery.Instance)) bool {
	i.changing.Lock()
	defer i.changing.Unlock()
	i.mu.Lock()
	was := i.listed
	i.mu.Unlock()
	is := was
	is.Tags, is.Meta = slices.Clone(was.Tags), maps.Clone(was.Meta) // readers have those of was
	change(&is)
	if is.ID != was.ID || is.Address != was.Address {
		i.cluster.errorf("Change to ID %q, address %q: want %q and %q, which stay", is.ID, is.Address, was.ID, was.Address)
		return false
	}
	i.mu.Lock()
	i.listed = is
	i.mu.Unlock()
	return true
}

// Serving is what the instance's health service says of it from now on, in its next lives
// too. It serves in either case.
func (i *Instance) Serving(serving bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.notServing = !serving
	switch {
	case i.life == nil:
	case serving:
		i.life.health.Resume()
	default:
		i.life.health.Shutdown()
	}
}
