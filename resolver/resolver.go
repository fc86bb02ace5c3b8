package resolver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/endpoint"
)

// explainTimeout bounds the question why a service has no instances.
const explainTimeout = time.Second

// Config is what a resolver is made of.
type Config struct {
	// Scheme is the target's scheme.
	Scheme string
	// Authority is what calls carry as :authority and TLS certificates are checked
	// against, where an instance has no name of its own.
	Authority string
	// Open returns the source, and what to call when the resolver no longer needs it.
	// Each connection opens its own; it must not block.
	Open   func() (discovery.Source, func(), error)
	Query  discovery.Query
	Loss   Loss
	Events event.Handler
}

// NewBuilder returns a builder of gRPC resolvers, for grpc.WithResolvers.
func NewBuilder(c Config) resolver.Builder { return &builder{c} }

type builder struct{ config Config }

func (b *builder) Scheme() string { return b.config.Scheme }

// OverrideAuthority implements gRPC's AuthorityOverrider: the target's path is how a
// service is found, not what it is called in a certificate.
func (b *builder) OverrideAuthority(resolver.Target) string { return b.config.Authority }

// Build starts to watch. It never fails: gRPC would not try again, so a source that
// cannot be opened is an error that callers see.
func (b *builder) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &watcher{config: &b.config, cc: cc, ctx: ctx, cancel: cancel, members: newMembership(b.config.Loss)}
	r.done.Go(r.run)
	return r, nil
}

// watcher is one connection's resolver.
type watcher struct {
	config *Config
	cc     resolver.ClientConn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	source discovery.Source // set before the first update

	mu       sync.Mutex // held while gRPC is told, which keeps updates in order
	closed   bool
	members  membership
	told     map[string]told // what gRPC was last told; nil: nothing yet
	expiry   *time.Timer
	degraded time.Time // since when the source is not believed; zero: it is
}

// told is what one endpoint was made of.
type told struct {
	info    endpoint.Info
	address string
	name    string
}

func (r *watcher) run() {
	source, release, err := r.config.Open()
	if err != nil {
		r.update(discovery.Snapshot{Err: err})
		return
	}
	defer release()
	r.source = source
	if err := source.Watch(r.ctx, r.config.Query, r.update); r.ctx.Err() == nil {
		if err == nil {
			err = errors.New("resolver: the source ended its watch and does not say why")
		}
		r.update(discovery.Snapshot{Err: err}) // the query can never work
	}
}

// update takes a snapshot.
func (r *watcher) update(s discovery.Snapshot) {
	instances, problems := discovery.Sanitize(s.Instances)
	s.Instances = instances
	r.report(append(slices.Clip(s.Problems), problems...))

	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	now, doubt := time.Now(), s.Err
	if doubt != nil {
		r.members.hold()
	} else {
		doubt = r.members.apply(s, now)
	}
	r.tell(now, doubt)
	e := r.judge(now, doubt)
	r.mu.Unlock()
	r.emit(e)
}

// tell hands the set to gRPC if it differs from what it was last told. With nothing to
// serve and a doubt, that is an error and not an empty set. Requires r.mu.
func (r *watcher) tell(now time.Time, doubt error) {
	if next := r.members.expire(now); !next.IsZero() {
		r.expireAt(next.Sub(now))
	}
	if r.members.size() == 0 && doubt != nil {
		r.told = nil
		r.cc.ReportError(doubt)
		return
	}
	endpoints, set := r.endpoints()
	if r.told != nil && same(r.told, set) {
		return
	}
	r.told = set
	// The balancer refuses no set, so there is nothing to do about an error here.
	_ = r.cc.UpdateState(resolver.State{Endpoints: endpoints})
	if len(endpoints) == 0 {
		r.explain()
	}
}

// explain asks the source, once for each time that the set becomes empty, why it is,
// and has callers told. Requires r.mu.
func (r *watcher) explain() {
	source, can := r.source.(discovery.Explainer)
	if !can {
		return
	}
	r.done.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, explainTimeout)
		defer cancel()
		why := source.Explain(ctx, r.config.Query)
		r.mu.Lock()
		defer r.mu.Unlock()
		if why != "" && !r.closed && r.told != nil && len(r.told) == 0 {
			_ = r.cc.UpdateState(resolver.State{Attributes: endpoint.WithWhy(why)})
		}
	})
}

// judge notes whether the source is believed, and returns the event if that changed.
// Requires r.mu.
func (r *watcher) judge(now time.Time, doubt error) event.Event {
	switch {
	case doubt != nil && r.degraded.IsZero():
		r.degraded = now
		return event.SourceDegraded{Service: r.config.Query.Service, Err: doubt, Known: r.members.size()}
	case doubt == nil && !r.degraded.IsZero():
		after := now.Sub(r.degraded)
		r.degraded = time.Time{}
		return event.SourceRecovered{Service: r.config.Query.Service, After: after}
	}
	return nil
}

// endpoints returns the set in the order of IDs. Requires r.mu.
func (r *watcher) endpoints() ([]resolver.Endpoint, map[string]told) {
	set := make(map[string]told, r.members.size())
	endpoints := make([]resolver.Endpoint, 0, r.members.size())
	add := func(i discovery.Instance, absent bool) {
		ep := endpoint.New(i, absent)
		endpoints = append(endpoints, ep)
		set[i.ID] = told{endpoint.Of(ep), i.Address, i.ServerName}
	}
	for _, i := range r.members.listed {
		add(i, false)
	}
	for _, a := range r.members.absent {
		add(a.Instance, true)
	}
	slices.SortFunc(endpoints, func(a, b resolver.Endpoint) int {
		return cmp.Compare(endpoint.Of(a).ID, endpoint.Of(b).ID)
	})
	return endpoints, set
}

func same(a, b map[string]told) bool {
	if len(a) != len(b) {
		return false
	}
	for id, t := range a {
		if b[id] != t {
			return false
		}
	}
	return true
}

// expireAt has tell run again when the next absent instance has had its time. Requires
// r.mu.
func (r *watcher) expireAt(d time.Duration) {
	if r.expiry != nil {
		r.expiry.Stop()
	}
	r.expiry = time.AfterFunc(d, r.expire)
}

func (r *watcher) expire() {
	r.mu.Lock()
	if r.closed || r.members.held {
		r.mu.Unlock()
		return
	}
	now := time.Now()
	r.tell(now, nil)
	e := r.judge(now, r.members.doubt())
	r.mu.Unlock()
	r.emit(e)
}

// emit is called with no lock held.
func (r *watcher) emit(e event.Event) {
	if e != nil && r.config.Events != nil {
		r.config.Events(e)
	}
}

// report tells of registrations that were skipped or mended, each time the source
// reports them anew.
func (r *watcher) report(problems []discovery.Problem) {
	if r.config.Events == nil {
		return
	}
	for _, p := range problems {
		r.config.Events(event.InstanceProblem{Service: r.config.Query.Service, Instance: p.Instance, What: p.What})
	}
}

// ResolveNow does nothing: a source pushes what it learns.
func (r *watcher) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends the watch and waits for it.
func (r *watcher) Close() {
	r.mu.Lock()
	r.closed = true
	if r.expiry != nil {
		r.expiry.Stop()
	}
	r.mu.Unlock()
	r.cancel()
	r.done.Wait()
}
