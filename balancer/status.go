package balancer

import (
	"time"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
)

// Status is one instance at one moment.
type Status struct {
	ID          string // as registered
	Address     string
	Incarnation string // empty if the source cannot tell lives apart
	Region      string // empty: unknown; Zone likewise
	Zone        string
	Weight      int
	Priority    int // 0 is the first choice
	State       event.State
	Why         string         // why the state is not Eligible; empty if it is
	Mode        breaker.Mode   // set by hand
	InFlight    int            // unary attempts
	Limit       int            // of them; 0: none
	Streams     int            // open ones
	StreamLimit int            // of them; 0: none
	Latency     time.Duration  // the estimate that the choice goes by
	SlowStart   float64        // the share it has reached, 1: all of it
	Share       float64        // what it gets of that since it had too much to do, 1: all
	Rest        time.Duration  // it asked to get none for so much longer
	Breaker     breaker.Counts // zero if breakers are off
}

// Status returns a copy of the fleet's live state, in the order the source gave.
func (f *Fleet) Status() []Status {
	now, median := f.now(), f.median.get()
	f.mu.Lock()
	defer f.mu.Unlock()
	members := *f.members.Load()
	all := make([]Status, len(members))
	for n, i := range members {
		info, inFlight := i.info.Load(), i.inFlight.Load()
		s := Status{
			ID: i.id, Address: i.address, Incarnation: i.incarnation,
			Region: info.Region, Zone: info.Zone, Weight: int(i.weight.Load()), Priority: i.priority(),
			State: i.state(), InFlight: int(inFlight), Streams: int(i.streams.Load()),
			Latency: time.Duration(i.latency.estimate(now, median, inFlight > 0)),
			Mode:    f.modes[i.id], SlowStart: f.ramped(i, now), Share: 1,
		}
		if y := i.yield.Load(); y != nil {
			s.Share, s.Rest = y.of(now), time.Duration(max(0, y.rest-now))
		}
		if l := i.limits.Load(); l != nil {
			s.Limit, s.StreamLimit = limitOf(l.unary), limitOf(l.streams)
		}
		if b := i.breaker.Load(); b != nil {
			s.Breaker = b.Counts()
		}
		s.Why = i.why(s)
		all[n] = s
	}
	return all
}

// Eligible reports whether the instance may be picked: no other is, while there is one.
func (s Status) Eligible() bool {
	return s.State == event.Eligible || s.State == event.Absent || s.State == event.Overruled
}

func limitOf(l *limit.Limiter) int {
	if l == nil {
		return 0
	}
	return l.Limit()
}

// why explains a state. Requires Fleet.mu.
func (i *Instance) why(s Status) string {
	switch s.State {
	case event.Failed:
		if i.lastErr != nil {
			return i.lastErr.Error()
		}
	case event.Draining:
		return "it said that it is leaving"
	case event.NotServing:
		return "its health service says NOT_SERVING"
	case event.Ejected:
		if i.has(forced) {
			return "ejected by hand"
		}
		if i.has(hung) {
			return "calls wait on it in vain, and it does not answer a probe"
		}
		return "ejected until " + s.Breaker.EjectedUntil.Format(time.TimeOnly)
	case event.Suspect:
		return "calls wait on it and nothing comes back"
	case event.Overruled:
		return "would be ejected, but too many instances already are"
	case event.Absent:
		return "no longer listed, but the source is doubted"
	case event.Standby:
		return "instances of a better priority suffice"
	case event.Connecting:
		return "no connection yet"
	}
	return ""
}
