package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
)

// Registry is a registry inside the process. Its methods are safe for concurrent use.
type Registry struct {
	mu       sync.Mutex
	services map[string]*service // those with an entry, a problem or a watch
	lives    uint64              // incarnations given so far
	failure  error               // see Fail
	failedAt time.Time           // when failure began
	doubt    error               // see Doubt
}

// service is all that is known of one name.
type service struct {
	entries  map[string]*entry // by instance ID
	problems []discovery.Problem
	watches  map[chan struct{}]struct{} // each of capacity 1: a token means "look again"
}

// entry is one instance of the registry. Those of Set have no lease.
type entry struct {
	instance discovery.Instance
	lease    *lease
	health   discovery.Health // as last shown to the watches
}

// New returns an empty registry.
func New() *Registry {
	return &Registry{services: make(map[string]*service)}
}

// Watch implements [discovery.Source]. Changes that happen while update runs are
// reported together, once it has returned.
func (r *Registry) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	if err := q.CheckPlain(); err != nil {
		return fmt.Errorf("discovery/memory: watch %q: %w", q.Service, err)
	}
	wake := make(chan struct{}, 1)
	wake <- struct{}{}
	r.subscribe(q.Service, wake)
	defer r.unsubscribe(q.Service, wake)

	var last *discovery.Snapshot
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s := r.snapshot(q); last == nil || !same(*last, s) {
			last = &s
			update(s)
		}
	}
}

// Explain implements [discovery.Explainer].
func (r *Registry) Explain(_ context.Context, q discovery.Query) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return r.failure.Error()
	}
	s := r.services[q.Service]
	if s == nil || len(s.entries) == 0 {
		return "memory has none"
	}
	all := s.instances()
	if len(q.Select(all)) > 0 {
		return ""
	}
	anyHealth := discovery.Query{Tags: q.Tags, Accept: discovery.AcceptAny}
	if len(q.Tags) > 0 && len(anyHealth.Select(all)) == 0 {
		return fmt.Sprintf("memory has %d, none with the tags %s", len(all), strings.Join(q.Tags, ", "))
	}
	var why []string
	for _, i := range all {
		clause := i.Health.String()
		if l := s.entries[i.ID].lease; l != nil && l.vitals.why(time.Now()) != "" {
			clause += ": " + l.vitals.why(time.Now())
		}
		if !slices.Contains(why, clause) {
			why = append(why, clause)
		}
	}
	return fmt.Sprintf("memory has %d, %s", len(all), strings.Join(why, ", "))
}

// Answered implements [discovery.Freshness]: now, or when Fail was called.
func (r *Registry) Answered(q discovery.Query) (at time.Time, ok bool) {
	if q.CheckPlain() != nil {
		return time.Time{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return r.failedAt, true
	}
	return time.Now(), true
}

// Set makes instances the whole set of the service. What is unusable among them is
// left out and reported as a problem, as a real source does. An instance without an
// incarnation keeps the one that its ID and address had, if any.
//
// A lease whose instance is not in the set registers again with its next heart-beat,
// as it would in a registry that lost it; one whose instance is in it has lost it.
func (r *Registry) Set(name string, instances ...discovery.Instance) {
	clean, problems := discovery.Sanitize(instances)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.service(name)
	before := s.entries
	s.entries, s.problems = make(map[string]*entry, len(clean)), problems
	for _, i := range clean {
		i = clone(i)
		i.Service = name
		old := before[i.ID]
		switch {
		case i.Incarnation != "":
		case old != nil && old.instance.Address == i.Address:
			i.Incarnation = old.instance.Incarnation
		default:
			i.Incarnation = r.incarnation()
		}
		s.entries[i.ID] = &entry{instance: i, health: i.Health}
	}
	for _, e := range before {
		if e.lease != nil {
			e.lease.timer.Stop()
		}
	}
	r.changed(name)
}

// Fail makes the registry answer nothing but err, until Recover: watches report it as
// [discovery.Snapshot] Err, and Register, Update and Release fail with it. Heart-beats
// go on, and so does time: what changes meanwhile is seen after Recover.
func (r *Registry) Fail(err error) {
	r.trouble(fmt.Errorf("discovery/memory: %w", err), nil)
}

// Doubt makes the registry report each set with err as its Doubt, until Recover.
func (r *Registry) Doubt(err error) {
	r.trouble(nil, fmt.Errorf("discovery/memory: %w", err))
}

// Recover ends what Fail or Doubt began.
func (r *Registry) Recover() { r.trouble(nil, nil) }

func (r *Registry) trouble(failure, doubt error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failedAt = time.Now()
	}
	r.failure, r.doubt = failure, doubt
	for name := range r.services {
		r.changed(name)
	}
}

func (r *Registry) subscribe(name string, wake chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.service(name).watches[wake] = struct{}{}
}

func (r *Registry) unsubscribe(name string, wake chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.services[name]
	delete(s.watches, wake)
	r.prune(name, s)
}

// snapshot returns what a watch of q has to report now.
func (r *Registry) snapshot(q discovery.Query) discovery.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return discovery.Snapshot{Err: r.failure}
	}
	s := r.services[q.Service]
	return discovery.Snapshot{Instances: q.Select(s.instances()), Doubt: r.doubt, Problems: s.problems}
}

// service returns the named service, made if need be. mu is held.
func (r *Registry) service(name string) *service {
	s := r.services[name]
	if s == nil {
		s = &service{entries: make(map[string]*entry), watches: make(map[chan struct{}]struct{})}
		r.services[name] = s
	}
	return s
}

// changed wakes the watches of a service. mu is held.
func (r *Registry) changed(name string) {
	s := r.services[name]
	for wake := range s.watches {
		select {
		case wake <- struct{}{}:
		default: // it is about to look anyway
		}
	}
	r.prune(name, s)
}

// prune forgets a service of which nothing is left. mu is held.
func (r *Registry) prune(name string, s *service) {
	if len(s.entries)+len(s.problems)+len(s.watches) == 0 {
		delete(r.services, name)
	}
}

// incarnation returns the next one of the registry's own. mu is held.
func (r *Registry) incarnation() string {
	r.lives++
	return "memory-" + strconv.FormatUint(r.lives, 10)
}

// instances returns the service's set as callers see it, by ID.
func (s *service) instances() []discovery.Instance {
	set := make([]discovery.Instance, 0, len(s.entries))
	for _, id := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[id]
		i := e.instance
		i.Health = e.health
		if e.lease != nil && e.health == discovery.Warning {
			i.Weight = e.lease.registration.WithDefaults().WarningWeight
		}
		set = append(set, i)
	}
	return set
}

// clone returns an i that shares nothing with the caller's.
func clone(i discovery.Instance) discovery.Instance {
	i.Tags = slices.Clone(i.Tags)
	i.Meta = maps.Clone(i.Meta)
	return i
}

// same reports whether b would tell a watch nothing new after a. The errors are
// pointers of our own, so they can be compared.
func same(a, b discovery.Snapshot) bool {
	return a.Err == b.Err && a.Doubt == b.Doubt &&
		slices.Equal(a.Problems, b.Problems) &&
		slices.EqualFunc(a.Instances, b.Instances, equal)
}

func equal(a, b discovery.Instance) bool {
	tags, meta := slices.Equal(a.Tags, b.Tags), maps.Equal(a.Meta, b.Meta)
	return tags && meta && a.ID == b.ID && a.Incarnation == b.Incarnation && a.Service == b.Service &&
		a.Address == b.Address && a.Weight == b.Weight && a.Region == b.Region && a.Zone == b.Zone &&
		a.ServerName == b.ServerName && a.Health == b.Health
}
