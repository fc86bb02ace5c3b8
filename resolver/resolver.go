package resolver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/resolver/internal/disk"
)

const (
	// patience is how long a source may take for its first answer before the snapshot on
	// disk serves, and before further datacenters serve without the first. A local
	// agent of Consul takes up to 100 ms.
	patience = 250 * time.Millisecond
	// farPatience is how long calls wait for the first answer of one datacenter when the
	// others have nothing: a read across the world is several round trips.
	farPatience = time.Second
	// refreshes is how often within its greatest age an unchanged snapshot is saved anew,
	// so that one of a process that was killed is hardly older than it has to be.
	refreshes  = 8
	minRefresh = time.Minute
	// closeRefresh is how old the snapshot on disk may be when the resolver closes.
	closeRefresh = time.Minute
)

// aggregate is one connection's resolver: it makes one set for gRPC of what the watches
// know. All state belongs to the goroutine of run, which alone talks to gRPC and tells of
// sources: things are heard in the order in which they happened, and no lock is held.
type aggregate struct {
	config *Config
	cc     resolver.ClientConn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	users  sync.WaitGroup           // of the source
	inbox  chan func(now time.Time) // run by the goroutine of run

	began   time.Time
	source  discovery.Source
	watches []*watch // by priority; at least one
	keeper  *disk.Keeper
	told    map[string]told // by endpoint ID: what gRPC holds; nil: nothing, or an error
	failed  string          // the error that gRPC was told, if that was the last thing
}

func newAggregate(c *Config, cc resolver.ClientConn) *aggregate {
	ctx, cancel := context.WithCancel(context.Background())
	r := &aggregate{config: c, cc: cc, ctx: ctx, cancel: cancel, inbox: make(chan func(time.Time)), began: time.Now()}
	for n, dc := range append([]string{c.Query.Datacenter}, c.Query.Failover...) {
		w := &watch{query: c.Query, priority: n, members: newMembership(c.Loss)}
		w.query.Datacenter, w.query.Failover = dc, nil
		r.watches = append(r.watches, w)
	}
	return r
}

// run lives as long as the resolver.
func (r *aggregate) run() {
	keeperCtx, stopKeeper := context.WithCancel(context.Background())
	defer stopKeeper()
	source, release, err := r.config.Open()
	if err == nil {
		defer release()
		defer r.users.Wait()
		r.start(keeperCtx, source)
	} else {
		for _, w := range r.watches {
			w.take(discovery.Snapshot{Err: err}, time.Now())
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			r.end()
			return
		case do := <-r.inbox:
			do(time.Now())
		case <-timer.C:
		}
		now := time.Now()
		if next := r.step(now); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(now))
		}
	}
}

// start begins to read the files, and to watch.
func (r *aggregate) start(keeperCtx context.Context, source discovery.Source) {
	r.source = source
	store := disk.Store{Dir: r.config.Snapshots.Dir, MaxAge: r.config.Snapshots.maxAge()}
	if store.Dir != "" {
		r.keeper = disk.NewKeeper(store, r.unsaved)
		r.done.Go(func() { r.keeper.Run(keeperCtx) })
	}
	origin := r.config.Scheme
	if named, ok := source.(fmt.Stringer); ok {
		origin = named.String()
	}
	for _, w := range r.watches {
		w.source, w.identity = source, disk.Identity{Origin: origin, Query: w.query}
		if w.loading = r.keeper != nil; w.loading {
			r.users.Go(func() {
				s, err := store.Load(w.identity, time.Now())
				r.post(func(time.Time) { w.loaded(s, err) })
			})
		}
		r.users.Go(func() {
			w.follow(r.ctx, func(s discovery.Snapshot) {
				instances, problems := discovery.Sanitize(s.Instances)
				s.Instances, s.Problems = instances, append(slices.Clip(s.Problems), problems...)
				r.post(func(now time.Time) {
					r.report(s.Problems)
					w.take(s, now)
				})
			})
		})
	}
}

// post has do run by the goroutine of run, if that still runs.
func (r *aggregate) post(do func(now time.Time)) {
	select {
	case r.inbox <- do:
	case <-r.ctx.Done():
	}
}

// step draws the conclusions of what has changed. It returns when it has to be called
// again if nothing does.
func (r *aggregate) step(now time.Time) (next time.Time) {
	soon := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, w := range r.watches {
		if err := w.fall(!now.Before(r.began.Add(patience))); err != nil {
			r.emit(event.SnapshotProblem{Service: w.query.Service, Datacenter: w.query.Datacenter, Err: err})
		}
		soon(w.expire(now))
		if !w.settled() {
			for _, t := range []time.Time{r.began.Add(patience), r.began.Add(farPatience)} {
				if t.After(now) {
					soon(t)
				}
			}
		}
	}
	r.config.Monitor.observe(r, false) // first: whoever tell wakes may look at once
	if r.tell(now) {
		r.explain()
	}
	refresh := max(r.config.Snapshots.maxAge()/refreshes, minRefresh)
	for _, w := range r.watches {
		r.judge(w, now)
		soon(w.keep(r.keeper, now, refresh))
	}
	return next
}

// end hands the keeper what it does not have yet.
func (r *aggregate) end() {
	for _, w := range r.watches {
		w.keep(r.keeper, time.Now(), closeRefresh)
	}
	r.config.Monitor.observe(r, true)
}

// ResolveNow does nothing: a source pushes what it learns.
func (r *aggregate) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends the watches, saves what is to be saved, and waits for both.
func (r *aggregate) Close() {
	r.cancel()
	r.done.Wait()
}
