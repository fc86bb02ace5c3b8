package balancer

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/surecall/surecall/balancer/internal/sharding"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/endpoint"
)

// identity is what an instance's state is kept under: another process at the same
// address, or the same process at another, inherits nothing.
type identity struct {
	id, address, incarnation string
}

// Instance is the live state of one instance. It belongs to the client's [Fleet] and
// outlives connections, pickers and the instance's place in the source.
type Instance struct {
	identity
	serial uint64 // small and unique in the fleet

	conn    sharding.Slot                    // the connection, while READY
	breaker atomic.Pointer[breaker.Instance] // nil inside: none, or it is switched off
	weight  atomic.Int64
	info    atomic.Pointer[endpoint.Info]
	limits  atomic.Pointer[limits] // nil inside: none, or they are switched off
	yield   atomic.Pointer[yield]  // nil inside: it gets all that it would

	inFlight    atomic.Int64 // unary attempts
	streams     atomic.Int64
	latency     latency
	rampStart   atomic.Int64 // when slow start began; 0: full share
	failedAt    atomic.Int64 // when an attempt on it last failed
	downSince   atomic.Int64 // when the breaker took it out; 0: eligible as far as that goes
	marks       atomic.Uint32
	patience    [patiences]patience
	probed      atomic.Int64 // when it last answered a probe
	hungAt      atomic.Int64 // when it did not
	drainedAt   atomic.Int64 // when it last said that it is leaving
	probing     atomic.Bool
	ill         atomic.Bool // its health service says NOT_SERVING
	unwatchable atomic.Bool // its health cannot be known, and that was told
	tripping    atomic.Bool // its breaker has been allowed to trip and is about to

	rehearsed   rehearsed                        // while the choice is plain
	keptBreaker atomic.Pointer[breaker.Instance] // the breaker, switched off or not; written under Fleet.mu

	signalMu  sync.Mutex
	signal    chan struct{} // closed when it begins to leave; nil: nobody waits for that
	leftFrom  int64         // when it last began to
	tombstone *time.Timer   // ends the mark of leaving

	// Guarded by Fleet.mu.
	keptLimits *limits // switched off or not
	member     bool    // in the source's set, or absent
	link       connectivity.State
	standby    bool  // of a priority that is not dialled
	pending    bool  // is being dialled for the first time
	dialledAt  int64 // since when
	lostAt     int64 // when the connection was lost
	refused    bool  // the last dial was
	leftAt     int64 // when it left the source's set
	lastErr    error
	shown      event.State
	newcomer   bool // joined a fleet that was serving already: takes its share slowly
}

// ID returns the instance's ID, "" for nil: an attempt that found none.
func (i *Instance) ID() string {
	if i == nil {
		return ""
	}
	return i.id
}

// Address returns where the instance listens.
func (i *Instance) Address() string { return i.address }

// Serial returns a small number that is the instance's own in its fleet.
func (i *Instance) Serial() uint64 { return i.serial }

// ejected reports whether the breaker keeps the instance out.
func (i *Instance) ejected() bool {
	b := i.breaker.Load()
	return b != nil && !breaker.Closed(b.Word())
}

func (i *Instance) overruled() bool {
	b := i.breaker.Load()
	return b != nil && b.Overruled()
}

// eligible reports whether the instance may be picked at all. Five atomic loads.
func (i *Instance) eligible() bool {
	return i.conn.SubConn() != nil && i.marks.Load() == 0 && !i.ejected()
}

// resort is the order in which instances that are not eligible serve when nobody is:
// the ejected before the suspects, who would make a call wait; last those that leave.
func (i *Instance) resort() int {
	switch {
	case i.has(draining):
		return 4
	case i.has(notServing):
		return 3
	case i.has(suspected | hung):
		return 2
	case i.ejected():
		return 1
	}
	return 0
}

// load is what one more call would wait behind: calls in flight per unit of weight,
// times how long one takes. weight is relative to the fleet's mean.
func (i *Instance) load(now int64, weight, median float64) float64 {
	inFlight := i.inFlight.Load()
	latency := max(i.latency.estimate(now, median, inFlight > 0), sameBelow*median)
	return (float64(inFlight)/weight + 1) * latency
}

// state derives what the instance is held to be. Requires Fleet.mu.
func (i *Instance) state() event.State {
	switch {
	case i.standby:
		return event.Standby
	case i.link == connectivity.TransientFailure:
		return event.Failed
	case i.conn.SubConn() == nil:
		return event.Connecting
	case i.has(draining):
		return event.Draining
	case i.has(notServing):
		return event.NotServing
	case i.ejected(), i.has(hung | forced):
		return event.Ejected
	case i.has(suspected):
		return event.Suspect
	case i.info.Load().Absent:
		return event.Absent
	case i.overruled():
		return event.Overruled
	default:
		return event.Eligible
	}
}
