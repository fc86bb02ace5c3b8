package balancer

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"google.golang.org/grpc/connectivity"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/endpoint"
	"github.com/surecall/surecall/limit"
)

// linger is how long the state of an instance outlives its place in the source: a
// longer absence than any restart, and than Consul's own anti-entropy.
const linger = 10 * time.Minute

// Config is what a client gives its fleet. The policies must be valid.
type Config struct {
	Service string
	Policy  Policy
	// Breaker is the instances' breaker; nil: none.
	Breaker *breaker.Policy
	// Concurrency limits the unary attempts in flight on each instance, and Streams the
	// streams; nil: no limit. Neither may have a queue, and that of streams is not
	// adaptive: their length says nothing about load.
	Concurrency, Streams *limit.Concurrency

	Health Health
	// Off is what is switched off for now.
	Off Off
	// Plain has instances chosen as gRPC's round_robin does: all that are connected, in turn.
	// Everything about them is watched, counted and learned as ever, and nothing comes of it.
	// Breaker should run dry then: one that acts would wait for trials in vain.
	Plain  bool
	Events event.Handler
	// Sever closes the connections to an address, from which nothing has come for so
	// long that a new one is worth a try; nil: they stay.
	Sever func(address string)
	// Refuse makes the error of a call for which there is no instance. It must carry
	// the gRPC status UNAVAILABLE or RESOURCE_EXHAUSTED: no other survives a picker with
	// its type.
	Refuse func(method string, r Refusal) error
	// Random is the source of random bits, nil for math/rand/v2's. It must be safe for
	// concurrent use.
	Random func() uint64
}

// Fleet is all instances of one service that a client knows, with their live state. It
// belongs to the client; the LB policy that serves the client's connection finds it by
// its ID, uses it, and may be closed and built anew without losing any of it.
type Fleet struct {
	id       uint64
	epoch    time.Time
	random   func() uint64
	config   atomic.Pointer[Config]
	median   median
	rotation atomic.Uint64 // whose turn it is, among trials of the service breaker
	turn     atomic.Uint64 // and when the choice is plain

	ejected      atomic.Pointer[[]*Instance]
	refusal      atomic.Pointer[datedRefusal]
	nextLook     atomic.Int64 // before which no pick looks for a due one again
	nextDue      atomic.Int64 // when the first ejected instance is due for a trial; 0: none is ejected
	connectedNow atomic.Int64
	rebuiltAt    atomic.Int64 // when a pick last asked for a rebuild
	allRest      atomic.Int64 // until when it holds that all who are eligible rest
	recovered    atomic.Int64 // when the service as a whole was last back
	probes       atomic.Int64 // under way, or looking for their turn
	active       atomic.Int64 // the priority that calls go to
	monitor      monitor
	version      atomic.Uint64             // of the set: who is a member, with what weight and priority; written under mu
	ids          sync.Map                  // string → []*Instance, the members with that ID; written under mu
	keys         atomic.Pointer[keyTables] // nil until a key is asked for; written under mu
	keysAsked    atomic.Bool               // the next ones are about to be built

	keysMu sync.Mutex // one call at a time may build the first tables of keys; taken before mu
	capMu  sync.Mutex // one breaker at a time may ask whether it may trip
	dueMu  sync.Mutex // guards the writing of ejected and nextDue; taken before a breaker's

	mu      sync.Mutex
	store   map[identity]*Instance
	modes   map[string]breaker.Mode // by instance ID; none is Automatic
	serial  uint64
	members atomic.Pointer[[]*Instance] // replaced under mu, never changed in place
	settled bool                        // has begun to serve
	darkAt  int64                       // since when there is no connection at all; 0: there is one
	revived int64                       // when that last ended
	lastErr error                       // of the last connection that failed, or of the source
	errAt   int64
	lb      *lb // serves the client's connection; nil while there is none
}

// NewFleet returns an empty fleet.
func NewFleet(c Config) *Fleet {
	f := &Fleet{
		id:     nextID.Add(1),
		epoch:  time.Now(),
		random: c.Random,
		store:  make(map[identity]*Instance),
		modes:  make(map[string]breaker.Mode),
	}
	if f.random == nil {
		f.random = rand.Uint64
	}
	f.turn.Store(f.random() >> 1)
	f.members.Store(&[]*Instance{})
	f.ejected.Store(&[]*Instance{})
	f.Configure(c)
	fleets.Store(f.id, weak.Make(f))
	runtime.AddCleanup(f, func(id uint64) { fleets.Delete(id) }, f.id)
	return f
}

// fleets finds a client's fleet for the LB policy that gRPC builds, which can be handed
// nothing but text. It holds no fleet alive: an entry goes with its client.
var (
	fleets sync.Map // uint64 → weak.Pointer[Fleet]
	nextID atomic.Uint64
)

// Configure swaps the policies and keeps all state, but for breakers and limits whose own
// policy differs: those begin anew, closed, and with nothing in flight.
func (f *Fleet) Configure(c Config) {
	if c.Plain {
		c.Sever = nil // gRPC would keep the connection
	}
	if c.Policy = c.Policy.WithDefaults(); c.Off.SlowStart {
		c.Policy.SlowStartFrom = 1
	}
	f.mu.Lock()
	old := f.config.Swap(&c)
	if old != nil && !same(old.Breaker, c.Breaker) {
		for _, i := range f.store {
			i.keptBreaker.Store(f.newBreaker(i))
			f.equip(i)
		}
	}
	if old != nil && !(same(old.Concurrency, c.Concurrency) && same(old.Streams, c.Streams)) {
		for _, i := range f.store {
			i.keptLimits = f.newLimits(i)
			f.equip(i)
		}
	}
	if old != nil && c.Plain && !old.Plain {
		for _, i := range f.store {
			i.rehearsed.reset()
		}
	}
	f.mu.Unlock()
	if old != nil {
		f.applyOff(old.Off)
	}
	f.updateDue()
	for _, i := range *f.members.Load() {
		f.show(i, "the policy changed")
	}
	f.republish()
}

func same[P comparable](a, b *P) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// now is nanoseconds on the fleet's own clock, never 0.
func (f *Fleet) now() int64 { return int64(time.Since(f.epoch)) + 1 }

// At returns t on the fleet's clock, which attempts are stamped with.
func (f *Fleet) At(t time.Time) int64 { return int64(t.Sub(f.epoch)) + 1 }

func (f *Fleet) time(now int64) time.Time { return f.epoch.Add(time.Duration(now)) }

func (f *Fleet) chance() float64 { return float64(f.random()>>11) / (1 << 53) }

// emit is called with no lock of the fleet's held; a child's, or gRPC's own, may be.
func (f *Fleet) emit(e event.Event) {
	if h := f.config.Load().Events; h != nil {
		h(e)
	}
}

// listening tells whether anybody does, before an event is built.
func (f *Fleet) listening() bool { return f.config.Load().Events != nil }

// Sample takes the latency of a unary attempt that was answered.
func (f *Fleet) Sample(i *Instance, elapsed time.Duration, now int64) {
	f.Progress(i, now)
	i.latency.add(float64(elapsed), f.median.get(), now)
	if f.random()&7 == 0 || f.median.get() == 0 {
		f.median.add(float64(elapsed))
	}
}

// Charge raises the load estimate of an instance whose attempt failed: an instance that
// fails fast must not look fast.
func (f *Fleet) Charge(i *Instance, elapsed time.Duration, now int64) {
	if last := i.failedAt.Swap(now); i.overruled() && now-last >= int64(failing) {
		f.republish() // it counts as one to move away from again
	}
	m := max(f.median.get(), latencyFloor)
	i.latency.add(max(float64(elapsed), failurePenalty*m), m, now)
}

// Recovered clears the runs of failures: the service as a whole is back.
//
// What was held against an instance says nothing any more. The trial that ends an
// ejection is due at once and no slow start follows it, and latencies are forgotten:
// the first that is back must not look worse than those that still fail.
func (f *Fleet) Recovered() {
	f.recovered.Store(f.now())
	for _, i := range *f.members.Load() {
		i.latency.forget()
		if b := i.keptBreaker.Load(); b != nil {
			b.ClearRun()
			b.Expedite()
		}
	}
	f.updateDue()
}

// Known returns how many instances the fleet knows. It is one atomic load.
func (f *Fleet) Known() int { return len(*f.members.Load()) }

// Connected returns how many instances had a connection when the picker was built.
func (f *Fleet) Connected() int { return int(f.connectedNow.Load()) }

// Another reports whether an eligible instance is left that a's call has not tried and may
// go to.
func (f *Fleet) Another(a *Attempt) bool {
	if a.pin() != "" {
		return false
	}
	members := *f.members.Load()
	start := int(f.random() >> 1)
	for n := range members {
		i := members[(start%len(members)+n)%len(members)]
		if i != a.instance && i.eligible() && !a.tried(i) && !a.full(i) {
			return true
		}
	}
	return false
}

// Elsewhere reports whether an eligible instance other than i is there. It may be called
// at any time.
func (f *Fleet) Elsewhere(i *Instance) bool {
	for _, other := range *f.members.Load() {
		if other != i && other.eligible() {
			return true
		}
	}
	return false
}

// join returns the state of an instance that the source lists, old or new, and whether
// it was in the fleet already.
func (f *Fleet) join(id identity, info endpoint.Info) (i *Instance, known bool) {
	now := f.now()
	f.mu.Lock()
	i, stored := f.store[id]
	if !stored || !i.member && now-i.leftAt > int64(linger) {
		f.serial++
		i = &Instance{identity: id, serial: f.serial, lostAt: now, newcomer: f.settled}
		i.keptBreaker.Store(f.newBreaker(i))
		i.keptLimits = f.newLimits(i)
		f.equip(i)
		if f.modes[i.id] == breaker.ForcedOpen {
			i.set(forced)
		}
		f.store[id] = i
	}
	known = i.member
	if !known {
		i.member, i.link, i.shown = true, connectivity.Connecting, event.Connecting
		// In place beyond the end of what readers have: ten thousand joins must not copy
		// the set ten thousand times.
		members := append(*f.members.Load(), i)
		f.members.Store(&members)
		f.enlist(i)
	}
	before := i.info.Swap(&info)
	i.weight.Store(int64(max(info.Weight, 1)))
	if !known || before.Weight != info.Weight || before.Priority != info.Priority {
		f.version.Add(1)
	}
	f.mu.Unlock()
	return i, known
}

// member returns the member with that identity, or nil.
func (f *Fleet) member(id identity) *Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.store[id]; i != nil && i.member {
		return i
	}
	return nil
}

// leave takes instances out of the fleet. Their state lingers.
func (f *Fleet) leave(gone map[*Instance]string) {
	if len(gone) == 0 {
		return
	}
	now := f.now()
	f.mu.Lock()
	members := make([]*Instance, 0, len(*f.members.Load()))
	for _, i := range *f.members.Load() {
		if _, left := gone[i]; left {
			i.member, i.leftAt = false, now
			f.delist(i)
			if i.conn.SubConn() != nil || i.link == connectivity.Ready {
				i.lostAt = now
			}
		} else {
			members = append(members, i)
		}
	}
	f.members.Store(&members)
	f.version.Add(1)
	f.forgetKeys()
	for id, i := range f.store {
		if !i.member && now-i.leftAt > int64(linger) {
			delete(f.store, id)
		}
	}
	f.mu.Unlock()
	for i := range gone {
		i.leave(now)
	}
	if f.listening() {
		service := f.config.Load().Service
		for i, why := range gone {
			f.emit(event.InstanceRemoved{Service: service, Instance: i.id, Address: i.address, Why: why})
		}
	}
	f.updateDue()
}

// show tells of an instance's state if it is no longer what was last told.
func (f *Fleet) show(i *Instance, why string) {
	f.mu.Lock()
	from, to := i.shown, i.state()
	i.shown = to
	member := i.member
	f.mu.Unlock()
	if from != to && member && f.listening() && !f.wouldChange(i, from, to, why) {
		f.emit(event.InstanceChanged{
			Service: f.config.Load().Service, Instance: i.id, Address: i.address, From: from, To: to, Why: why,
		})
	}
}
