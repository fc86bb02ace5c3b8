package balancer

import (
	"math"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
)

// rebuildEvery bounds how often picks that needed a scan have the picker rebuilt.
const rebuildEvery = 50 * time.Millisecond

// picker picks for as long as the set of connected instances stays what it is. It is
// immutable; what changes with every call is in the instances.
type picker struct {
	fleet     *Fleet
	chooser   chooser     // nil without candidates
	eligible  []candidate // when the picker was built
	connected []*Instance // eligible or not, of every priority
	active    int         // the priority that calls go to
	refusal   Refusal     // nothing is connected: what to tell
}

// Pick chooses an instance for the attempt in the context. It takes no lock, unless it
// hands out a trial, loses a race for the last slot of a limit, or is the first to have a
// key.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	a, ok := info.Ctx.Value(attemptKey{}).(*Attempt)
	if !ok || a.Fleet != p.fleet {
		a = &Attempt{Context: info.Ctx, Fleet: p.fleet}
	}
	a.replace()
	now := a.Begun
	if a.Begun = 0; now == 0 {
		now = p.fleet.now()
	}
	crowded := false
	for range maxDraws {
		i, trial := p.choose(a, now)
		if i == nil {
			break
		}
		sc := i.conn.SubConn()
		if sc != nil && a.enter(i, now) {
			return a.begin(i, sc, trial, now), nil
		}
		crowded = crowded || sc != nil
		trial.Done(breaker.Ignored) // its connection, or its last slot, went this very moment
	}
	if crowded && a.pin() == "" {
		if i, sc := p.anyRoom(a, now); i != nil {
			return a.begin(i, sc, breaker.Trial{}, now), nil
		}
	}
	return balancer.PickResult{}, p.none(a, info.FullMethodName, crowded)
}

// choose goes from the best case to the last resort. While one instance is connected and
// has room, there is always somebody to pick, unless those that have none are better.
func (p *picker) choose(a *Attempt, now int64) (*Instance, breaker.Trial) {
	if a.pin() != "" {
		return p.pinned(a, now)
	}
	if a.Rotate {
		return p.rotate(a), breaker.Trial{}
	}
	start := uint64(0)
	if key := a.key(); key != "" && len(p.connected) > 0 {
		start = scatter(hash(key), 0)
		if i, trial := p.sticky(start, a, now); i != nil {
			return i, trial
		}
	} else {
		if p.fleet.trialIsDue(a, now) {
			if i, trial := p.fleet.takeTrial(a, now); i != nil {
				return i, trial
			}
		}
		if p.chooser != nil {
			if c := p.chooser.choose(a, now); c != nil {
				return c.Instance, breaker.Trial{}
			}
		}
		start = p.fleet.random()
	}
	return p.best(start, a, now), breaker.Trial{}
}

// scan returns the first connected instance that fits, beginning at start.
func (p *picker) scan(start uint64, fits func(*Instance) bool) *Instance {
	n := uint64(len(p.connected))
	for k := range n {
		if i := p.connected[(start%n+k)%n]; i.conn.SubConn() != nil && fits(i) {
			return i
		}
	}
	return nil
}

// rotate returns whose turn it is, eligible or not: first one that a has not tried; nil if
// all have no room but those that were taken out by hand.
func (p *picker) rotate(a *Attempt) *Instance {
	turn := p.fleet.rotation.Add(1)
	fits := func(i *Instance) bool { return !i.has(forced) && !a.full(i) }
	if i := p.scan(turn, func(i *Instance) bool { return fits(i) && !a.tried(i) }); i != nil {
		return i
	}
	if i := p.scan(turn, fits); i != nil {
		return i
	}
	if p.scan(turn, func(i *Instance) bool { return !i.has(forced) }) != nil {
		return nil
	}
	return p.scan(turn, func(i *Instance) bool { return !a.full(i) })
}

// best returns whom to call when a few draws met nobody: the first of the best rank; nil
// if some who are eligible have no room, and only those are left that are not: a call is
// better refused than sent to one that is known to fail, or to leave. So also if only
// those are left that were taken out by hand, and others have a connection.
func (p *picker) best(start uint64, a *Attempt, now int64) *Instance {
	var best *Instance
	rank, full, awake := math.MaxInt, math.MaxInt, false
	p.scan(start, func(i *Instance) bool {
		r := p.rank(i, a, now)
		awake = awake || r < resting
		switch {
		case r >= rank:
		case a.misses(i):
			full = min(full, r)
		default:
			best, rank = i, r
		}
		return rank == 0
	})
	switch {
	case rank == 0:
		p.fleet.askRebuild(now)
	case full < lastResort && rank >= lastResort, full < byHand && rank >= byHand:
		return nil
	case !awake && rank < lastResort:
		p.fleet.allRest.Store(now + int64(restLook))
	}
	return best
}

// Ranks.
const (
	tierSize   = maxPriority + 2
	resting    = 2 * tierSize // the first of who is eligible and rests
	lastResort = 4 * tierSize // the first of who is not eligible
	triedLast  = 16 * tierSize
	byHand     = 32 * tierSize // the first of who was taken out by hand
)

// rank orders the connected instances, the best first: eligible, the active priority
// before the others; those that the call has tried; those that rest; then whoever is
// not eligible, those that the call has tried last; and at the end whom somebody took out.
func (p *picker) rank(i *Instance, a *Attempt, now int64) int {
	if !i.eligible() {
		rank := lastResort + i.resort()*tierSize + i.priority()
		if a.tried(i) {
			rank += triedLast
		}
		if i.has(forced) {
			rank += byHand
		}
		return rank
	}
	rank := 1 + i.priority()
	if i.priority() == p.active {
		rank = 0
	}
	if a.tried(i) {
		rank += tierSize
	}
	if i.rests(now) {
		rank += resting
	}
	return rank
}

// anyRoom takes the first slot of an eligible instance that it can get, after others
// have taken all those that were chosen.
func (p *picker) anyRoom(a *Attempt, now int64) (i *Instance, sc balancer.SubConn) {
	i = p.scan(p.fleet.random(), func(i *Instance) bool {
		sc = i.conn.SubConn()
		return sc != nil && i.eligible() && a.enter(i, now)
	})
	return i, sc
}

// none says that there is nobody to pick: for now, as far as gRPC goes, if a connection
// is on its way; else why.
func (p *picker) none(a *Attempt, method string, crowded bool) error {
	c := p.fleet.config.Load()
	if crowded || p.crowd(a) {
		r := p.fleet.Refusal()
		r.Full, r.Pinned = max(r.Full, 1), a.pin()
		return c.Refuse(method, r)
	}
	if a.WaitForReady {
		return balancer.ErrNoSubConnAvailable
	}
	if id := a.pin(); id != "" && len(p.connected) > 0 {
		if p.fleet.dialling(id) {
			return balancer.ErrNoSubConnAvailable
		}
		r := p.fleet.Refusal()
		r.Full, r.Pinned = 0, id // that others are full is not why
		return c.Refuse(method, r)
	}
	if len(p.connected) > 0 {
		// Connections were lost since the picker was built: the next one is on its way.
		return balancer.ErrNoSubConnAvailable
	}
	r := p.refusal
	r.Pinned = a.pin()
	return c.Refuse(method, r)
}

// crowd reports whether an instance that could serve a is at its limit.
func (p *picker) crowd(a *Attempt) bool {
	if id := a.pin(); id != "" {
		for _, i := range p.fleet.withID(id) {
			if i.conn.SubConn() != nil && a.full(i) {
				return true
			}
		}
		return false
	}
	return p.scan(0, a.full) != nil
}

// askRebuild has the picker rebuilt, off this path, without the instances that have
// been ineligible for a while: a scan is slow.
func (f *Fleet) askRebuild(now int64) {
	last := f.rebuiltAt.Load()
	if now-last < int64(rebuildEvery) || !f.rebuiltAt.CompareAndSwap(last, now) {
		return
	}
	go f.republish()
}

// queueing makes calls wait until there is something to pick from.
type queueing struct{}

func (queueing) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	if a, ok := info.Ctx.Value(attemptKey{}).(*Attempt); ok {
		a.Begun = 0 // by the time it is picked, that is long ago
	}
	return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
}
