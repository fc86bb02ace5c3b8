package balancer

import "github.com/surecall/surecall/breaker"

// stickyTries is how many instances of a key's own order are looked at before anybody
// will do. Each is drawn anew, so that the keys of an instance that is out spread over all
// others by weight.
const stickyTries = 8

// pin returns the ID of the only instance that may serve a; empty: any may.
func (a *Attempt) pin() string {
	if a.Route == nil {
		return ""
	}
	return a.Route.Instance
}

func (a *Attempt) key() string {
	if a.Route == nil || a.Rotate {
		return ""
	}
	return a.Route.Key
}

// pinned returns the instance that a is pinned to, eligible or not, tried or not; nil if
// it has no connection or no room.
func (p *picker) pinned(a *Attempt, now int64) (*Instance, breaker.Trial) {
	var found *Instance
	for _, i := range p.fleet.withID(a.pin()) {
		if i.conn.SubConn() != nil && !a.misses(i) && (found == nil || i.eligible()) {
			found = i
		}
	}
	if found != nil && p.fleet.trialIsDue(a, now) {
		if trial, ok := p.fleet.tryTrial(found, a, now); ok {
			return found, trial
		}
	}
	return found, breaker.Trial{}
}

// sticky returns the instance that the key of a stands for, or the next in the key's own
// order that can be picked; nil if there is none nearby. Who is slow to start or yields
// keeps its keys, who rests does not. An ejected one that is due for its trial gets it
// from its own keys: with all calls sticky, no others come.
func (p *picker) sticky(key uint64, a *Attempt, now int64) (*Instance, breaker.Trial) {
	table := p.fleet.keyTable(p.active)
	for n := range uint64(stickyTries) {
		i := table.find(scatter(key, n))
		switch {
		case i == nil: // it left, and the table is about to be replaced
		case a.tried(i) || p.fleet.spares(i, now) || a.misses(i):
		case i.eligible():
			return i, breaker.Trial{}
		case p.fleet.trialIsDue(a, now):
			if trial, ok := p.fleet.tryTrial(i, a, now); ok {
				return i, trial
			}
		}
	}
	return nil, breaker.Trial{}
}

// dialling reports whether an instance with that ID is being connected for the first time.
func (f *Fleet) dialling(id string) bool {
	found := f.withID(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range found {
		if i.pending {
			return true
		}
	}
	return false
}
