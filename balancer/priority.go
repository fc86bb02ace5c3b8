package balancer

import (
	"fmt"
	"time"

	"github.com/surecall/surecall/balancer/internal/sharding"
	"github.com/surecall/surecall/event"
)

const (
	// returnAfter is how long a better priority has to have had an eligible instance
	// before calls go back to it: one that flaps must not take them along.
	returnAfter = 10 * time.Second
	// standDown is how long a better priority has to do without before the connections
	// to the next are closed again.
	standDown = 5 * time.Minute
	// joining is how long an instance that was never connected yet counts as one that is
	// about to be: a client that starts must not dial everybody.
	joining = time.Second
	// failing is how long an instance that is overruled counts as one to move away from,
	// after its last failure: with no calls, nothing else would show that it is back.
	failing = 30 * time.Second
	// maxPriority bounds what a source can ask for.
	maxPriority = sharding.MaxClass
)

// levels decides which priorities are dialled, and which one calls go to. It is a plain
// state machine: its caller keeps calls apart.
type levels struct {
	dialled int // instances of a priority up to this one are connected
	active  int // the priority that calls go to
	since   [maxPriority + 1]int64
	calm    int64 // since when the last dialled is not needed; 0: it is
}

// tally counts the instances of one priority.
type tally struct{ members, eligible, joining int }

// judge takes how many instances of each priority there are. It returns when it has to
// be asked again at the latest; 0: when something changes.
func (l *levels) judge(tallies []tally, now int64) (again time.Duration) {
	sooner := func(d int64) {
		if again == 0 || time.Duration(d) < again {
			again = max(time.Duration(d), 1)
		}
	}
	for p := range l.since {
		switch {
		case p >= len(tallies) || tallies[p].eligible == 0:
			l.since[p] = 0
		case l.since[p] == 0:
			l.since[p] = now
		}
	}
	for p := range tallies {
		if l.since[p] == 0 {
			continue
		}
		if wait := l.since[p] + int64(returnAfter) - now; p < l.active && l.since[l.active] != 0 && wait > 0 {
			sooner(wait)
			continue
		}
		l.active = p
		break
	}
	need := 0
	for ; need < len(tallies)-1; need++ {
		t := tallies[need]
		if t.joining > 0 {
			sooner(int64(joining))
		}
		if t.members > 0 && 2*(t.eligible+t.joining) >= t.members {
			break
		}
	}
	need = max(need, l.active)
	switch {
	case need >= l.dialled:
		l.dialled, l.calm = need, 0
	case l.calm == 0:
		l.calm = now
		sooner(int64(standDown))
	case now-l.calm >= int64(standDown):
		l.dialled, l.calm = need, 0
	default:
		sooner(l.calm + int64(standDown) - now)
	}
	return again
}

// tallies counts the members by priority. It also returns when time alone will change
// that; 0: never. Requires Fleet.mu.
func (f *Fleet) tallies(members []*Instance, now int64) (all []tally, changes int64) {
	all = make([]tally, 1, 2)
	for _, i := range members {
		p := i.priority()
		for p >= len(all) {
			all = append(all, tally{})
		}
		all[p].members++
		plain := f.config.Load().Plain
		fails := !plain && i.overruled() && now-i.failedAt.Load() < int64(failing)
		if until := i.failedAt.Load() + int64(failing); fails && (changes == 0 || until < changes) {
			changes = until
		}
		switch {
		case !fails && i.serves(), plain && i.conn.SubConn() != nil:
			all[p].eligible++
		case i.pending && now-i.dialledAt < int64(joining):
			all[p].joining++
		}
	}
	return all, changes
}

// serves reports whether calls can go to i, as far as the choice of a priority goes. One
// that is only suspected has 100 ms to show that it lives: a moment's doubt must not move
// a whole datacenter.
func (i *Instance) serves() bool {
	return i.conn.SubConn() != nil && !i.has(^suspected) && !i.ejected()
}

func (i *Instance) priority() int { return min(max(i.info.Load().Priority, 0), maxPriority) }

// prioritise decides anew who is dialled and where calls go. Requires publication.mu.
func (p *publication) prioritise(members []*Instance, now int64) {
	f := p.fleet
	f.mu.Lock()
	tallies, changes := f.tallies(members, now)
	f.mu.Unlock()
	if changes != 0 {
		p.arm(time.Duration(changes - now))
	}
	dialled, active := p.levels.dialled, p.levels.active
	if again := p.levels.judge(tallies, now); again > 0 {
		p.arm(again)
	}
	f.active.Store(int64(p.levels.active))
	if p.levels.dialled != dialled {
		go p.relevel() // not here: a child's lock may be held
	}
	if p.levels.active != active && f.listening() {
		why := fmt.Sprintf("no instance of priority %d is eligible", active)
		if p.levels.active < active {
			why = fmt.Sprintf("priority %d has had an eligible instance for %v", p.levels.active, returnAfter)
		}
		e := event.PriorityChanged{Service: f.config.Load().Service, From: active, To: p.levels.active, Why: why}
		go f.emit(e) // not here: locks are held
	}
}
