package resolver

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/surecall/surecall/event"
)

// Status is what a source last answered, and how far it is to be trusted: a copy, of the
// moment in which it was asked for.
type Status struct {
	Service string
	// Answer is that of all datacenters together: sums, the oldest answer, each doubt.
	Answer
	// Datacenters has one answer for each datacenter of the query, in the order in which
	// they are turned to.
	Datacenters []Answer
}

// Answer is a source's last answer for one datacenter.
type Answer struct {
	Datacenter string // empty: the source's own
	// Instances is how many are known: those that the source listed, or the file.
	Instances int
	// Absent is how many more serve on that a doubted answer lacks.
	Absent int
	// At is when the source last had an answer, also one that changed nothing if it can
	// tell (see discovery.Freshness), else when it last reported one; with FromDisk,
	// when the snapshot was saved. Zero: there was no answer yet.
	At time.Time
	// Age is the time since At. A source that is told of changes, as Consul is, may be
	// silent for a minute without being out of date.
	Age time.Duration
	// Trusted is whether the source vouches for the answer, and nothing speaks against it.
	Trusted bool
	// Why says why it is not trusted. What looks like a secret in it is masked.
	Why string
	// FromDisk is whether instances serve that only the snapshot on disk knows.
	FromDisk bool
}

// String returns one line for a log, for example
//
//	orders: 3 instances, trusted, answered 2s ago
//	orders: 3 instances from disk, not trusted, saved 2h0m0s ago: connection refused
//	orders: eu: no answer, not trusted: connection refused; us: 2 instances, trusted, answered 9s ago
func (s Status) String() string {
	if len(s.Datacenters) < 2 {
		return s.Service + ": " + s.Answer.String()
	}
	lines := make([]string, len(s.Datacenters))
	for n, a := range s.Datacenters {
		lines[n] = a.String()
	}
	return s.Service + ": " + strings.Join(lines, "; ")
}

// String returns the line of one datacenter.
func (a Answer) String() string {
	if a.Datacenter == "" {
		return a.line()
	}
	return a.Datacenter + ": " + a.line()
}

func (a Answer) line() string {
	var b strings.Builder
	switch {
	case a.At.IsZero():
		b.WriteString("no answer")
	case a.Instances == 1:
		b.WriteString("1 instance")
	default:
		fmt.Fprintf(&b, "%d instances", a.Instances)
	}
	if a.FromDisk {
		b.WriteString(" from disk")
	}
	if a.Absent > 0 {
		fmt.Fprintf(&b, ", %d absent", a.Absent)
	}
	if !a.Trusted {
		b.WriteString(", not")
	} else {
		b.WriteString(",")
	}
	b.WriteString(" trusted")
	if !a.At.IsZero() {
		verb := "answered"
		if a.FromDisk {
			verb = "saved"
		}
		fmt.Fprintf(&b, ", %s %v ago", verb, a.Age.Round(time.Second))
	}
	if a.Why != "" {
		b.WriteString(": " + a.Why)
	}
	return b.String()
}

// Monitor shows what a resolver knows to who has no hold of it: gRPC makes a resolver when
// a connection is needed, and another after it was idle. It is safe for concurrent use.
type Monitor struct{ last atomic.Pointer[observed] }

// observed is what a resolver knew at one moment.
type observed struct {
	by     *aggregate
	closed bool
	views  []view
}

// view is what was known of one datacenter.
type view struct {
	answer Answer // without Age and Why
	watch  *watch // for its source and query, which do not change
	doubt  error
}

// observe takes down what r knows. A resolver that ends does not overwrite its successor's.
func (m *Monitor) observe(r *aggregate, closed bool) {
	if m == nil {
		return
	}
	o := &observed{by: r, closed: closed}
	for _, w := range r.watches {
		a := Answer{
			Datacenter: w.query.Datacenter,
			Instances:  len(w.members.listed) + len(w.members.stored),
			Absent:     len(w.members.absent),
			At:         w.answered,
			Trusted:    w.trusted() && !closed,
			FromDisk:   w.fromDisk(),
		}
		if a.FromDisk {
			a.At = w.file.Written
		}
		v := view{a, w, w.doubt}
		if !w.settled() {
			v.doubt = errNoAnswer
		}
		o.views = append(o.views, v)
	}
	if !closed {
		m.last.Store(o)
	} else if old := m.last.Load(); old != nil && old.by == r {
		m.last.CompareAndSwap(old, o)
	}
}

// Status returns what the source of service last answered. It does no I/O.
func (m *Monitor) Status(service string) Status {
	o := m.last.Load()
	if o == nil {
		return Status{Service: service, Answer: Answer{Why: "it has not been asked: the client has not connected yet"}}
	}
	s, now := Status{Service: service}, time.Now()
	for _, v := range o.views {
		s.Datacenters = append(s.Datacenters, v.status(now, o.closed))
	}
	s.Answer = together(s.Datacenters)
	return s
}

func (v view) status(now time.Time, closed bool) Answer {
	a := v.answer
	if !a.FromDisk && !closed {
		if at, ok := v.watch.freshest(); ok {
			a.At = at
		}
	}
	if !a.At.IsZero() {
		a.Age = now.Sub(a.At)
	}
	switch {
	case closed:
		a.Why = "it is no longer asked: the client is idle or closed"
	case v.doubt != nil:
		a.Why = event.Mask(v.doubt.Error())
	}
	return a
}

// together is the answer of several datacenters in one.
func together(all []Answer) Answer {
	if len(all) == 1 {
		return all[0]
	}
	sum, whys := Answer{At: all[0].At, Age: all[0].Age, Trusted: true}, []string(nil)
	for _, a := range all {
		sum.Instances += a.Instances
		sum.Absent += a.Absent
		sum.Trusted = sum.Trusted && a.Trusted
		sum.FromDisk = sum.FromDisk || a.FromDisk
		if a.At.Before(sum.At) {
			sum.At, sum.Age = a.At, a.Age
		}
		if a.Why != "" {
			whys = append(whys, place(a.Datacenter)+": "+a.Why)
		}
	}
	sum.Why = strings.Join(whys, "; ")
	return sum
}
