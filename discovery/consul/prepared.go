package consul

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surecall/surecall/discovery"
)

// execution is the answer of a prepared query.
type execution struct {
	Service    string // that it looks for
	Nodes      entries
	Datacenter string // that answered
	PeerName   string // that answered, in its place
	Failovers  int    // how many places were asked after the first
}

// where says who answered.
func (x execution) where() string {
	if x.PeerName != "" {
		return fmt.Sprintf("peer %q", x.PeerName)
	}
	return fmt.Sprintf("datacenter %q", x.Datacenter)
}

// preparedConflicts returns what of q does not go with a prepared query, which says
// itself what to look for and where to turn next. inTarget names it by the keys of a target.
func preparedConflicts(q discovery.Query, inTarget bool) (errs []error) {
	if q.Prepared == "" {
		return nil
	}
	for _, f := range []struct {
		name, key string
		value     any
		set       bool
	}{
		{"Tags", "tag", q.Tags, len(q.Tags) > 0},
		{"Filter", "filter", q.Filter, q.Filter != ""},
		{"Failover", "dc: second to last", q.Failover, len(q.Failover) > 0},
		{"Namespace", "ns", q.Namespace, q.Namespace != ""},
		{"Partition", "partition", q.Partition, q.Partition != ""},
		{"Peer", "peer", q.Peer, q.Peer != ""},
	} {
		name := f.name
		if inTarget {
			name = f.key
		}
		if f.set {
			errs = append(errs, fmt.Errorf("%s %q with the prepared query %q: want it in the prepared query itself", name, f.value, q.Prepared))
		}
	}
	return errs
}

// execute asks the prepared query of q. Every execution is a read of the leader.
func (a *agent) execute(ctx context.Context, q discovery.Query) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	start := time.Now()
	var x execution
	meta, err := a.api.Raw().Query(executePath(q), &x, executeOptions(ctx, q))
	if err == nil && x.Nodes.list == nil {
		err = errors.New("the answer has no list of instances")
	}
	switch {
	case notFound(err):
		return answer{}, fmt.Errorf("discovery/consul: watch %q: there is no prepared query %q: %w", q.Service, q.Prepared, err)
	case err != nil:
		return answer{}, fmt.Errorf("discovery/consul: watch %q: prepared query %q: %w", q.Service, q.Prepared, a.scrub(err))
	}
	got := newAnswer(decode(x.Nodes, q), meta, start)
	if x.Failovers > 0 && got.entries > 0 {
		got.problems = append(got.problems, discovery.Problem{
			Instance: fmt.Sprintf("prepared query %q", q.Prepared),
			What:     "finds none where it looks first: those of " + x.where() + " are used",
		})
	}
	return got, nil
}

// polled judges an answer of a prepared query. It comes from the leader itself, so there
// is nobody to confirm it; and it has no index, so nothing tells the last instance that
// left from a registry that lost its memory, or from a datacenter that cannot be reached.
// So no longer having any is believed once it has been so for a while.
func (p *progress) polled(a answer, now time.Time) (decoded, error) {
	switch {
	case a.filtered:
		return p.hidden(a)
	case len(a.instances) > 0:
		return p.believe(a), nil
	case a.entries > 0:
		return p.doubt(a, fmt.Errorf("none of its %d registrations can be used", a.entries))
	case !a.led():
		return p.doubt(a, errors.New("the prepared query finds none and no leader stands behind that"))
	case len(p.held.instances) > 0:
		if p.lostAt.IsZero() {
			p.lostAt = now
		}
		if now.Sub(p.lostAt) < emptyHold {
			return p.doubt(a, fmt.Errorf("the prepared query finds none any more: to be believed after %v of that", emptyHold))
		}
	}
	return p.believe(a), nil
}

// poll plans the next execution of a prepared query: up to a tenth earlier or later than
// asked for, so that the clients of a service spread out.
func (p *progress) poll(random func() float64) plan {
	next := p.first()
	next.pause = time.Duration((0.9 + random()/5) * float64(p.refresh))
	return next
}
