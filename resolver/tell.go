package resolver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/endpoint"
)

// explainTimeout bounds the question why a service has no instances.
const explainTimeout = time.Second

// told is what one endpoint was made of.
type told struct {
	info    endpoint.Info
	address string
	name    string
}

// tell hands the set to gRPC if it differs from what it was last told. It returns whether
// it is one that nobody is listed in, and news.
func (r *aggregate) tell(now time.Time) (explain bool) {
	endpoints, set := r.union()
	settled := 0
	for _, w := range r.watches {
		if w.settled() {
			settled++
		}
	}
	switch {
	case settled == 0: // calls wait
		return false
	case len(set) > 0 && !r.watches[0].settled() && now.Before(r.began.Add(patience)):
		return false // the first datacenter would lose the start to those that stand by
	case len(set) == 0 && settled < len(r.watches) && now.Before(r.began.Add(farPatience)):
		return false
	}
	if len(set) == 0 {
		if why := r.trouble(); why != nil {
			r.fail(why)
			return false
		}
	}
	if r.told != nil && maps.Equal(r.told, set) {
		return false
	}
	r.told, r.failed = set, ""
	// The balancer refuses no set, so there is nothing to do about an error here.
	_ = r.cc.UpdateState(resolver.State{Endpoints: endpoints})
	return nobody(set)
}

// nobody reports whether set has at most those whom the source does not list: the
// balancer lets them go when their connections end.
func nobody(set map[string]told) bool {
	for _, t := range set {
		if !t.info.Absent {
			return false
		}
	}
	return true
}

// trouble is why an empty set may not be true, or nil.
func (r *aggregate) trouble() (all error) {
	for _, w := range r.watches {
		err := w.doubt
		if !w.settled() {
			err = errNoAnswer
		}
		if err != nil && len(r.watches) > 1 {
			err = fmt.Errorf("%s: %w", w.place(), err)
		}
		switch {
		case all == nil:
			all = err
		case err != nil:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// fail tells gRPC that there is nothing to serve, and why that may not be true. That is
// an error and not an empty set, unless gRPC holds instances that are known to be gone.
func (r *aggregate) fail(why error) {
	if r.failed == why.Error() {
		return
	}
	if r.failed = why.Error(); len(r.told) > 0 {
		_ = r.cc.UpdateState(resolver.State{Attributes: endpoint.WithWhy(r.failed)})
	} else {
		r.cc.ReportError(why)
	}
	r.told = nil
}

// union returns what all watches know, in the order of priority and ID.
func (r *aggregate) union() ([]resolver.Endpoint, map[string]told) {
	size := 0
	for _, w := range r.watches {
		size += w.members.size()
	}
	set := make(map[string]told, size)
	endpoints := make([]resolver.Endpoint, 0, size)
	for _, w := range r.watches {
		aliases := make(map[string]string)
		add := func(i discovery.Instance, absent bool) {
			if higher, taken := set[i.ID]; taken && higher.address == i.Address {
				return // one instance, that two datacenters list
			}
			if id := w.endpointID(i.ID, set); id != i.ID {
				aliases[i.ID] = id
				i.ID = id
			}
			i.Priority = w.priority
			ep := endpoint.New(i, absent)
			endpoints = append(endpoints, ep)
			set[i.ID] = told{endpoint.Of(ep), i.Address, i.ServerName}
		}
		for _, i := range w.members.listed {
			add(i, false)
		}
		for _, a := range w.members.absent {
			add(a.Instance, true)
		}
		for _, i := range w.members.stored {
			add(i, false) // to be dialled: nothing is connected when a process starts
		}
		w.aliases = aliases
	}
	slices.SortFunc(endpoints, func(a, b resolver.Endpoint) int {
		x, y := endpoint.Of(a), endpoint.Of(b)
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.ID, y.ID))
	})
	return endpoints, set
}

// endpointID is what an instance is called among those of all datacenters: its ID, or
// ID@datacenter if one of an earlier datacenter has that. Who was renamed stays so: the
// balancer would take a new name for another instance, just when the earlier datacenter
// fails and this one is needed.
func (w *watch) endpointID(id string, taken map[string]told) string {
	name := cmp.Or(w.aliases[id], id)
	for {
		if _, is := taken[name]; !is {
			return name
		}
		name += "@" + w.query.Datacenter
	}
}

// explain asks the source why it lists nobody, each time that it comes to that, and has
// callers told.
func (r *aggregate) explain() {
	source, can := r.source.(discovery.Explainer)
	if !can {
		return
	}
	whys := make([]string, len(r.watches))
	var asking sync.WaitGroup
	ctx, cancel := context.WithTimeout(r.ctx, explainTimeout)
	for n, w := range r.watches {
		asking.Go(func() {
			if whys[n] = source.Explain(ctx, w.query); whys[n] != "" && len(r.watches) > 1 {
				whys[n] = w.place() + ": " + whys[n]
			}
		})
	}
	r.users.Go(func() {
		asking.Wait()
		cancel()
		why := strings.Join(slices.DeleteFunc(whys, func(s string) bool { return s == "" }), "; ")
		r.post(func(time.Time) {
			if endpoints, set := r.union(); why != "" && r.told != nil && nobody(set) && maps.Equal(r.told, set) {
				_ = r.cc.UpdateState(resolver.State{Endpoints: endpoints, Attributes: endpoint.WithWhy(why)})
			}
		})
	})
}
