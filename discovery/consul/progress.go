package consul

import (
	"errors"
	"fmt"
	"time"

	"github.com/surecall/surecall/discovery"
)

const (
	firstWait   = 5 * time.Second       // of a cached read, which a cold agent may hold
	doubtWait   = 2 * time.Second       // of the first query after a doubted answer; doubles
	doubtMax    = 30 * time.Second      // up to this
	emptyHold   = time.Minute           // how long a registry that lost its memory is not believed to be empty
	pollPause   = 2 * time.Second       // between queries if the agent's index does not reach us
	earlyPause  = time.Second           // after a blocking query that came back at once with nothing new
	minInterval = 20 * time.Millisecond // between returns, after a burst
	maxInterval = 5 * time.Second       // however long the decoding takes
	backendRPC  = "blocking-query"      // the backend whose KnownLeader means something
	forbidden   = "the token may lack service:read or node:read"
)

// answer is one successful query.
type answer struct {
	decoded
	index    uint64
	filtered bool          // ACLs hid something
	backend  string        // "streaming", "blocking-query" or empty
	leader   bool          // a leader is known; means nothing unless backend is blocking-query
	deny     bool          // the agent's ACL policy is to deny
	took     time.Duration // until the answer began
	decoding time.Duration // reading and decoding it
}

// led reports whether a leader stands behind the answer.
func (a answer) led() bool { return a.backend == backendRPC && a.leader }

// plan is the next query.
type plan struct {
	pause  time.Duration // before it
	index  uint64        // 0 does not block
	wait   time.Duration
	cached bool
}

// progress is what a watch remembers from query to query: the set it believes, and how
// long things have been wrong. It has no clock and does no I/O.
type progress struct {
	waitTime time.Duration
	near     bool          // the agent's cache has no sorted answers
	refresh  time.Duration // of a prepared query, which is polled; 0: it is none

	held      decoded   // the last non-empty set that was believed
	heldIndex uint64    // its index
	vacant    bool      // a leader confirmed that there is nothing, and nothing came since
	failures  int       // in a row
	doubts    int       // answers in a row that were not simply believed
	lostAt    time.Time // when the registry's memory was first found shorter than ours, or a prepared query empty
	stale     bool      // the agent's view was found to be, and has not agreed with the leader since
}

var errFiltered = errors.New("Consul hides instances from us: " + forbidden)

// judge says which set an answer stands for, and why that may lack instances. An empty
// answer is often a lie: of an agent that cannot reach its servers, that lost its
// data, or whose token lacks rights, which the agent's stream does not tell. So it is
// believed only if confirm, a read that goes to the leader, says the same.
func (p *progress) judge(a answer, now time.Time, confirm func() (answer, error)) (decoded, error) {
	if p.refresh > 0 {
		return p.polled(a, now)
	}
	if a.filtered {
		return p.hidden(a)
	}
	if p.stale {
		b, err := confirm()
		switch {
		case err != nil:
			return p.doubt(a, fmt.Errorf("the agent's view is stale and the leader does not answer: %w", err))
		case !b.led():
			return p.doubt(a, errors.New("the agent's view is stale and no leader answers"))
		case !sameSet(a.instances, b.instances):
			return p.confirmed(b, b, now)
		}
		p.stale = false
	}
	if len(a.instances) > 0 {
		return p.believe(a), nil
	}
	if p.vacant && a.index > 1 {
		return p.believe(a), nil
	}
	if a.entries > 0 {
		return p.doubt(a, fmt.Errorf("none of its %d registrations can be used", a.entries))
	}
	b, err := confirm()
	if err != nil {
		return p.doubt(a, fmt.Errorf("the agent has no instances and its servers do not confirm it: %w", err))
	}
	return p.confirmed(a, b, now)
}

// confirmed judges what the leader says in the place of the answer a.
func (p *progress) confirmed(a, b answer, now time.Time) (decoded, error) {
	switch {
	case b.filtered:
		return p.hidden(b)
	case !b.led():
		return p.doubt(a, errors.New("the agent has no instances and no leader confirms it"))
	case len(b.instances) > 0:
		return p.despite(b), nil
	case b.entries > 0:
		return p.doubt(b, fmt.Errorf("none of its %d registrations can be used", b.entries))
	case b.index <= 1:
		return p.doubt(a, errors.New("the agent has no instances, and an index that says it never had: a peer it does not know?"))
	case len(p.held.instances) > 0 && b.index == p.heldIndex:
		return p.doubt(a, errors.New("all instances vanished although the catalog did not change: "+forbidden))
	case len(p.held.instances) > 0 && b.index < p.heldIndex:
		if p.lostAt.IsZero() {
			p.lostAt = now
		}
		if now.Sub(p.lostAt) < emptyHold {
			return p.doubt(a, fmt.Errorf("the registry lost its memory: its index went back from %d to %d", p.heldIndex, b.index))
		}
	}
	p.vacant = true
	return p.believe(b), nil
}

// believe takes the answer's set for the truth.
func (p *progress) believe(a answer) decoded {
	p.held, p.heldIndex = decoded{}, 0
	if len(a.instances) > 0 {
		p.held, p.heldIndex, p.vacant = a.decoded, a.index, false
	}
	p.doubts, p.lostAt = 0, time.Time{}
	return a.decoded
}

// despite believes a set whose agent cannot be trusted for now: the next query does not
// wait as long.
func (p *progress) despite(a answer) decoded {
	doubts := p.doubts
	set := p.believe(a)
	p.doubts = doubts + 1
	return set
}

// doubt keeps the set that is held.
func (p *progress) doubt(a answer, why error) (decoded, error) {
	p.doubts++
	return decoded{instances: p.held.instances, problems: a.problems}, why
}

// hidden handles an answer that ACLs made smaller: what it has is good, what it lacks
// means nothing.
func (p *progress) hidden(a answer) (decoded, error) {
	if len(a.instances) == 0 {
		return p.doubt(a, errFiltered)
	}
	return p.despite(a), errFiltered
}

// first plans the query that opens the watch, and each one after an error: one that
// does not block, from the agent's own cache, which is faster and survives the loss of
// the servers.
func (p *progress) first() plan {
	return plan{wait: firstWait, cached: !p.near}
}

// answered plans the query after an answer. asked is the one that was answered.
func (p *progress) answered(asked plan, a answer, random func() float64) plan {
	p.failures = 0
	if p.refresh > 0 {
		return p.poll(random)
	}
	next := plan{index: max(a.index, 1), wait: p.waitTime}
	if p.doubts > 0 {
		next.wait = min(p.waitTime, doubtMax, doubtWait<<min(p.doubts-1, 10))
	}
	switch {
	case a.index == 0: // a proxy strips the header: waiting on 1 would return at once, for ever
		next = p.first()
		next.pause = pollPause
	case a.index < asked.index: // the agent lost its data: waiting on the old index would blind us
		next = p.first()
	case asked.index == a.index && a.took < asked.wait/2:
		next.pause = earlyPause
	}
	return next
}

// failed plans the query after an error.
func (p *progress) failed(err error, random func() float64) plan {
	p.failures++
	next := p.first()
	next.pause = backoff(p.failures, permanent(err), backoffMax, random)
	return next
}

// interval is the least time between two returns once the burst is used up: ten times
// what the last one cost, so that watching takes a tenth of one core at most.
func interval(decoding time.Duration) time.Duration {
	return min(max(10*decoding, minInterval), maxInterval)
}

// snapshot makes what users see of a set.
func snapshot(d decoded, accept discovery.Accept, doubt error) discovery.Snapshot {
	return discovery.Snapshot{Instances: accept.Select(d.instances), Problems: d.problems, Doubt: doubt}
}
