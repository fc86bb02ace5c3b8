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

// renewal is how long after a registration it is made again. An identical one is
// silent for everyone who watches, and mends what was lost unseen.
const (
	renewal     = time.Minute
	renewalGRPC = 30 * time.Second // no heart-beat would notice the loss
)

// Register implements [discovery.Registrar]. It tries passing troubles again until ctx
// ends, or for 3 s if ctx has no deadline. The lease talks to the agent over a
// connection of its own, and stays with that agent.
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
	health  func(context.Context) (discovery.Health, string)
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

	turn chan struct{} // holds one token: whoever has it may write, and use what follows
	reg  discovery.Registration
	gone bool      // released: it cannot be updated any more
	made time.Time // the last registration; zero if the agent may have lost it
	last discovery.Health
}

func newLease(s *Source, r discovery.Registration) (*lease, error) {
	l := &lease{
		source: s, events: s.config.Events, health: r.Health,
		id: r.Instance.ID, service: r.Instance.Service, ttl: r.TTL, grpc: r.GRPC != nil,
		done: make(chan struct{}), turn: make(chan struct{}, 1), reg: r,
	}
	own, err := s.hub.agent.pinned(s.hub.dial, r.TTL)
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
		h, note := l.ask(ctx)
		err := l.write(ctx, l.reg, h, note)
		if err == nil || permanent(err) {
			return err
		}
		if !pause(ctx, backoff(n, false, time.Second, rand.Float64)) {
			return err
		}
	}
}

// run is the heart-beat.
func (l *lease) run() {
	defer close(l.done)
	var trouble outage
	next := l.rhythm(nil, 0)
	for pause(l.alive, next) {
		err := l.beat()
		if l.alive.Err() != nil {
			return
		}
		if err != nil {
			trouble.begin(l, err)
		} else {
			trouble.end(l)
		}
		next = l.rhythm(err, trouble.failures)
	}
}

// rhythm returns the pause after a heart-beat: up to a tenth short of the period, so
// that the instances of a fleet spread out; after an error, a back-off within it.
func (l *lease) rhythm(err error, failures int) time.Duration {
	period := l.period()
	if err != nil {
		return backoff(failures, permanent(err), max(period, permanentStart), rand.Float64)
	}
	return period - time.Duration(rand.Float64()*float64(period)/10)
}

// period is the time between heart-beats.
func (l *lease) period() time.Duration {
	if l.grpc {
		return renewalGRPC
	}
	return l.ttl / 3
}

// beat sends one heart-beat, and registers anew when the last registration is old or
// may be lost.
func (l *lease) beat() error {
	h, note := l.ask(l.alive)
	select {
	case <-l.turn:
	case <-l.alive.Done():
		return nil
	}
	defer l.yield()
	if l.alive.Err() != nil { // Release may have had the turn meanwhile
		return nil
	}
	ctx, cancel := context.WithTimeout(l.writes, writeTimeout)
	defer cancel()
	if !l.grpc && time.Since(l.made) < renewal {
		err := l.tick(ctx, h, note)
		if err == nil {
			return nil
		}
		l.made = time.Time{}
		if !notFound(err) {
			return err
		}
	}
	return l.write(ctx, l.reg, h, note)
}

// ask returns the health to report and why.
func (l *lease) ask(ctx context.Context) (discovery.Health, string) {
	if l.health == nil || l.grpc {
		return discovery.Passing, ""
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	return l.health(ctx)
}

// write registers r and reports its health at once: registering again does not heal a
// check that had expired. It requires the turn.
func (l *lease) write(ctx context.Context, r discovery.Registration, h discovery.Health, note string) error {
	l.made = time.Time{}
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
	if err := l.agent.api.Agent().ServiceRegisterOpts(agentRegistration(r, h), opts); err != nil {
		return l.agent.scrub(err)
	}
	if !l.grpc {
		if err := l.tick(ctx, h, note); err != nil {
			return err
		}
	}
	l.made = time.Now()
	return nil
}

// tick sends the health. It requires the turn.
func (l *lease) tick(ctx context.Context, h discovery.Health, note string) error {
	l.last = h
	opts := (&api.QueryOptions{}).WithContext(ctx)
	if err := l.agent.api.Agent().UpdateTTLOpts(checkID(l.id), note, ttlStatus(h), opts); err != nil {
		return l.agent.scrub(err)
	}
	return nil
}

func (l *lease) yield() { l.turn <- struct{}{} }

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
