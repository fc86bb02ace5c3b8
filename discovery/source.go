package discovery

import (
	"context"
	"fmt"
	"time"
)

// Source is where instances come from.
type Source interface {
	// Watch reports the instances that match q until ctx ends, and returns ctx's
	// error then. It returns earlier only for a query that can never work, with an
	// error that says why.
	//
	// update is called from one goroutine at a time, the first time as soon as the
	// source has an answer or knows that it cannot get one, and again at each change.
	// Each Snapshot holds the full set. Watch may be called any number of times, also
	// at once; it leaves nothing running when it returns.
	Watch(ctx context.Context, q Query, update func(Snapshot)) error
}

// Explainer is a Source that can say why a query finds nothing, for the error that
// a caller sees. Explain asks at most once and honours ctx; it returns one short
// clause such as "Consul has 1, critical: TTL expired", or "" if it does not know.
type Explainer interface {
	Explain(ctx context.Context, q Query) string
}

// Freshness is a Source that can say how old its knowledge is: it tells a set that is
// quiet from one that nobody answers for any more.
type Freshness interface {
	// Answered returns when the source last had an answer for q, be it a doubted one or
	// one that changed nothing. ok is false if it knows of none; it need not know of any
	// before q is watched. The last answer of a source that waits for changes may well be
	// a whole wait old. Answered does no I/O and is safe for concurrent use.
	Answered(q Query) (at time.Time, ok bool)
}

// Snapshot is the full set of instances a source reports at one moment.
type Snapshot struct {
	// Instances is the set, in no particular order.
	Instances []Instance
	// Doubt, if not nil, says why the set may lack instances that are alive.
	Doubt error
	// Err, if not nil, says why the source has no answer. Instances means nothing then.
	Err error
	// Problems lists what was wrong with registrations that were skipped or mended.
	Problems []Problem
}

// Problem is something wrong with one registration.
type Problem struct {
	Instance string // the ID, or whatever names the registration best
	What     string // what is wrong, and what was made of it
}

// String returns "instance: what".
func (p Problem) String() string { return fmt.Sprintf("%s: %s", p.Instance, p.What) }

// Query says which instances of which service are wanted. A source that has no such
// notion (a namespace, say) refuses a query that sets the field.
type Query struct {
	// Service is the name of the service. Required.
	Service string
	// Prepared names a query that is stored in the source (Consul: a prepared query, by
	// its name or ID). It then says what to look for; Service only names the result.
	Prepared string
	// Tags must all be on an instance; case does not matter.
	Tags []string
	// Filter is an expression in the source's own language (Consul: bexpr).
	Filter string
	// Accept says which healths are used.
	Accept Accept
	// Port selects a named port. Empty means the default port.
	Port string
	// TaggedAddress selects a tagged address, for example "lan" or "wan". Empty means
	// the service's own address.
	TaggedAddress string
	// Datacenter, Namespace, Partition and Peer say where to look. Empty means where
	// the source is.
	Datacenter string
	Namespace  string
	Partition  string
	Peer       string
	// Failover lists further datacenters, in the order in which to turn to them. Each is
	// watched on its own: a Source is asked for one at a time and never sees this field
	// set.
	Failover []string
	// Near asks the source to sort by network distance from a node. See the source
	// for what it costs.
	Near string
}

// Accept says which healths of an instance make it usable.
type Accept uint8

// What can be accepted.
const (
	AcceptUsable  Accept = iota // passing and warning: the default
	AcceptPassing               // passing only
	AcceptPrefer                // passing and warning; if there is none, all but maintenance
	AcceptAny                   // all but maintenance
)

// Accepts reports whether an instance of health h is used. usable tells whether one of
// health passing or warning exists; only AcceptPrefer asks.
func (a Accept) Accepts(h Health, usable bool) bool {
	switch a {
	case AcceptPassing:
		return h == Passing
	case AcceptPrefer:
		return h <= Warning || h == Critical && !usable
	case AcceptAny:
		return h <= Critical
	default:
		return h <= Warning
	}
}

// Select returns the instances of set that a accepts. set is not changed.
func (a Accept) Select(set []Instance) []Instance {
	usable := false
	for i := range set {
		usable = usable || set[i].Health <= Warning
	}
	selected := make([]Instance, 0, len(set))
	for i := range set {
		if a.Accepts(set[i].Health, usable) {
			selected = append(selected, set[i])
		}
	}
	return selected
}
