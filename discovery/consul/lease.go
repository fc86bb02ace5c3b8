package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

// Register implements [discovery.Registrar]. It tries passing troubles again until ctx
// ends, or for 3 s if ctx has no deadline. The lease talks to the agent over a
// connection of its own, and stays with that agent. A registration whose write got no
// answer may have been made all the same; without a heart-beat it expires.
func (s *Source) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	if err := validate(r); err != nil {
		return nil, err
	}
	r = r.WithDefaults()
	l, err := newLease(s, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx, writeTimeout)
	defer cancel()
	if err := l.begin(ctx); err != nil {
		l.quit()
		l.agent.transport.CloseIdleConnections()
		return nil, fmt.Errorf("discovery/consul: register %q: %w", r.Instance.Service, err)
	}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.leases[l] = struct{}{}
		go l.run()
	}
	s.mu.Unlock()
	if ended {
		close(l.done)
		return nil, errors.Join(errClosed, l.Release(ctx))
	}
	return l, nil
}

// lease keeps one registration alive.
type lease struct {
	source  *Source
	agent   *agent
	events  event.Handler
	checkup checkup // of the goroutine that registers, then of the heart-beat's
	id      string
	service string
	ttl     time.Duration
	grpc    bool // Consul checks; there is no TTL

	alive  context.Context // until the heart-beat is to end: Release and Close
	quit   context.CancelFunc
	writes context.Context // until nothing may be written any more
	sever  context.CancelFunc
	done   chan struct{} // closed when the heart-beat has ended
	once   sync.Once     // the first Release
	broken chan struct{} // of capacity 1: the connection to the agent has ended

	turn chan struct{} // holds one token: whoever has it may write, and use what follows
	reg  discovery.Registration
	gone bool      // released: it cannot be updated any more
	made time.Time // the last registration; zero if the agent may have lost it
	last discovery.Health
}

func newLease(s *Source, r discovery.Registration) (*lease, error) {
	l := &lease{
		source: s, events: s.config.Events, broken: make(chan struct{}, 1),
		id: r.Instance.ID, service: r.Instance.Service, ttl: r.TTL, grpc: r.GRPC != nil,
		done: make(chan struct{}), turn: make(chan struct{}, 1), reg: r,
	}
	l.checkup.within = r.TTL / 3
	if !l.grpc {
		l.checkup.health = r.Health
	}
	own, err := s.hub.agent.pinned(s.hub.dial, r.TTL, l.broke)
	if err != nil {
		return nil, err
	}
	l.agent = own
	l.turn <- struct{}{}
	l.alive, l.quit = context.WithCancel(context.Background())
	l.writes, l.sever = context.WithCancel(context.Background())
	return l, nil
}

// begin makes the first registration and its first heart-beat: one that was never
// heart-beaten comes back critical from a restart of its agent.
func (l *lease) begin(ctx context.Context) error {
	for n := 1; ; n++ {
		h, note := l.checkup.ask(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("Health does not return: %w", ctx.Err())
		}
		err := l.write(ctx, l.reg, h, note)
		if err == nil || permanent(err) {
			return err
		}
		if !pause(ctx, backoff(n, false, retryMax, rand.Float64)) {
			return err
		}
	}
}

// Update implements [discovery.Lease].
func (l *lease) Update(ctx context.Context, i discovery.Instance) error {
	ctx, cancel := bounded(ctx, writeTimeout)
	defer cancel()
	select {
	case <-l.turn:
		defer l.yield()
	case <-ctx.Done():
		return fmt.Errorf("discovery/consul: update: %w", ctx.Err())
	}
	if l.gone {
		return fmt.Errorf("discovery/consul: update %q: the lease was released", l.service)
	}
	if i.ID == "" {
		i.ID = l.id
	}
	if i.ID != l.id || i.Service != l.service {
		return fmt.Errorf("discovery/consul: update %q: ID %q, Service %q: want the registered %q, %q",
			l.service, i.ID, i.Service, l.id, l.service)
	}
	r := l.reg
	if r.WarningWeight == r.Instance.Weight {
		r.WarningWeight = 0 // it followed the weight
	}
	r.Instance = i
	if err := validate(r); err != nil {
		return err
	}
	r = r.WithDefaults()
	if err := l.write(ctx, r, l.last, ""); err != nil {
		return fmt.Errorf("discovery/consul: update %q: %w", l.service, err)
	}
	l.reg = r
	return nil
}

// Release implements [discovery.Lease]. A heart-beat that is under way is awaited, not
// cut off: a new connection might lead to another agent. Without a deadline in ctx it
// takes 3 s at most.
func (l *lease) Release(ctx context.Context) (err error) {
	l.once.Do(func() { err = l.release(ctx) })
	return err
}

func (l *lease) release(ctx context.Context) error {
	ctx, cancel := bounded(ctx, writeTimeout)
	defer cancel()
	l.quit()
	var failed error
	select {
	case <-l.turn:
		l.gone = true
		failed = l.deregister(ctx)
		l.yield()
	case <-ctx.Done():
		failed = ctx.Err()
	}
	l.sever()
	select {
	case <-l.done:
	case <-ctx.Done():
		failed = cmp.Or(failed, errors.New("Health does not return"))
	}
	l.source.forget(l)
	l.agent.transport.CloseIdleConnections()
	if failed != nil {
		return fmt.Errorf("discovery/consul: deregister %q: %w", l.id, failed)
	}
	return nil
}

// deregister takes the instance out; one that is not there is as good. It requires
// the turn.
func (l *lease) deregister(ctx context.Context) error {
	opts := (&api.QueryOptions{}).WithContext(ctx)
	err := l.agent.api.Agent().ServiceDeregisterOpts(l.id, opts)
	if err == nil || notFound(err) {
		return nil
	}
	return l.agent.scrub(err)
}

// abandon ends the heart-beat and waits for it, without taking the instance out.
func (l *lease) abandon() {
	l.quit()
	l.sever()
	<-l.done
	l.agent.transport.CloseIdleConnections()
}
