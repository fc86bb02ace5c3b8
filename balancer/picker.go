package balancer

import (
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
)

const (
	// trialPatience is how long a due trial waits for a call that may be retried,
	// before any call is taken for it.
	trialPatience = 10 * time.Second
	// trialLife is when a trial whose call has no deadline counts as lost.
	trialLife = 30 * time.Second
	// dueRecheck is how soon a pick looks again for a due trial when it found none that
	// can be taken.
	dueRecheck = 10 * time.Millisecond
	// rebuildEvery bounds how often picks that needed a scan have the picker rebuilt.
	rebuildEvery = 50 * time.Millisecond
)

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
// hands out a trial.
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
	for range maxDraws {
		i, trial := p.choose(a, now)
		if i == nil {
			break
		}
		if sc := i.conn.SubConn(); sc != nil {
			return a.begin(i, sc, trial, now), nil
		}
		trial.Done(breaker.Ignored) // the connection went this very moment
	}
	if a.WaitForReady || len(p.connected) > 0 {
		// Connections were lost since the picker was built: the next one is on its way.
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	return balancer.PickResult{}, p.fleet.config.Load().Refuse(info.FullMethodName, p.refusal)
}

// choose goes from the best case to the last resort. While one instance is connected,
// there is always somebody to pick.
func (p *picker) choose(a *Attempt, now int64) (*Instance, breaker.Trial) {
	if a.Rotate {
		turn := p.fleet.rotation.Add(1)
		if i := p.scan(turn, func(i *Instance) bool { return !a.tried(i) }); i != nil {
			return i, breaker.Trial{}
		}
		return p.scan(turn, func(*Instance) bool { return true }), breaker.Trial{}
	}
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
	random := p.fleet.random()
	first := func(i *Instance) bool { return i.eligible() && i.priority() == p.active }
	if i := p.scan(random, func(i *Instance) bool { return first(i) && !a.tried(i) }); i != nil {
		p.fleet.askRebuild(now)
		return i, breaker.Trial{}
	}
	if a.Prior != nil { // never the same twice while another is eligible, wherever that is
		if i := p.scan(random, func(i *Instance) bool { return i.eligible() && !a.tried(i) }); i != nil {
			return i, breaker.Trial{}
		}
	}
	if i := p.scan(random, first); i != nil {
		return i, breaker.Trial{}
	}
	return p.lastResort(random, a), breaker.Trial{}
}

// scan returns the first connected instance that fits, beginning at start.
func (p *picker) scan(start uint64, fits func(*Instance) bool) *Instance {
	n := uint64(len(p.connected))
	for k := range n {
		if i := p.connected[(start+k)%n]; i.conn.SubConn() != nil && fits(i) {
			return i
		}
	}
	return nil
}

// lastResort returns whom to call when nobody of the active priority is eligible: one of
// another that is, the best first; else whoever is connected.
func (p *picker) lastResort(start uint64, a *Attempt) *Instance {
	const (
		resort = maxPriority + 1
		tried  = 10 * resort // comes after all that were not
	)
	var best *Instance
	rank := 2 * tried
	p.scan(start, func(i *Instance) bool {
		r := i.resort()*resort + i.priority()
		if a.tried(i) {
			r += tried
		}
		if r < rank {
			best, rank = i, r
		}
		return false
	})
	return best
}

// takeTrial hands a's call to an ejected instance whose time is over, as its trial. The
// comparison of loads would never choose it.
func (f *Fleet) takeTrial(a *Attempt, now int64) (*Instance, breaker.Trial) {
	for _, i := range *f.ejected.Load() {
		b := i.breaker.Load()
		if b == nil || i.conn.SubConn() == nil || i.marks.Load() != 0 || i.priority() > int(f.active.Load()) || a.tried(i) || !b.Due(f.time(now)) {
			continue
		}
		if !a.Retryable && !b.Due(f.time(now-int64(trialPatience))) {
			continue // another one has waited for that long
		}
		expires := f.time(now).Add(trialLife)
		if deadline, ok := a.Deadline(); ok && deadline.Before(expires) {
			expires = deadline
		}
		if trial, ok := b.TryTrial(f.time(now), expires); ok {
			return i, trial
		}
	}
	f.nextLook.Store(now + int64(dueRecheck))
	return nil, breaker.Trial{}
}

// trialIsDue reports whether a may be the trial of an instance that is due. Up to three
// atomic loads, one while nobody is ejected.
func (f *Fleet) trialIsDue(a *Attempt, now int64) bool {
	due := f.nextDue.Load()
	return due != 0 && now >= due && now >= f.nextLook.Load() && a.waited(now-due)
}

// waited reports whether a may find out about an instance that has waited for that since:
// at once if a can be retried elsewhere, any other unary call after trialPatience.
func (a *Attempt) waited(since int64) bool {
	return !a.Stream && (a.Retryable || since >= int64(trialPatience))
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
