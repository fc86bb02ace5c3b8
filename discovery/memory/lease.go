package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surecall/surecall/discovery"
)

// lease is one registration and the goroutine that sends its heart-beats.
type lease struct {
	registry *Registry
	service  string
	id       string
	health   func(context.Context) (discovery.Health, string)
	every    time.Duration
	stop     context.CancelFunc
	done     chan struct{} // closed when the goroutine has ended

	// Guarded by registry.mu.
	registration discovery.Registration // as given, so that its defaults follow an Update
	incarnation  string
	vitals       vitals
	timer        *time.Timer // for when vitals change by themselves
	released     bool
}

// Register implements [discovery.Registrar]. It asks r.Health once, for at most TTL/3,
// before it makes the instance known; without an answer the instance starts critical.
func (r *Registry) Register(ctx context.Context, reg discovery.Registration) (discovery.Lease, error) {
	err := reg.Validate()
	if reg.GRPC != nil {
		err = errors.Join(err, errors.New("discovery: registration GRPC: a registry in memory makes no checks: want nil, and Health"))
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("discovery/memory: register %q: %w", reg.Instance.Service, err)
	}
	reg.Instance = clone(reg.Instance)
	full := reg.WithDefaults()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &lease{
		registry:     r,
		service:      full.Instance.Service,
		id:           full.Instance.ID,
		health:       full.Health,
		every:        full.TTL / 3,
		stop:         stop,
		done:         make(chan struct{}),
		registration: reg,
		incarnation:  full.Instance.Incarnation,
		vitals:       vitals{ttl: full.TTL, after: full.DeregisterAfter},
	}
	h, note, ok := l.ask(ctx)
	if !ok {
		h, note = discovery.Critical, "no heart-beat yet"
	}
	if err := l.begin(ctx, h, note); err != nil {
		stop()
		return nil, fmt.Errorf("discovery/memory: register %q: %w", l.id, err)
	}
	go l.run(running)
	return l, nil
}

// begin makes the instance known, in place of any other of its ID.
func (l *lease) begin(ctx context.Context, h discovery.Health, note string) error {
	r := l.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(ctx.Err(), r.failure); err != nil {
		return err
	}
	if l.incarnation == "" {
		l.incarnation = r.incarnation()
	}
	if old := r.service(l.service).entries[l.id]; old != nil && old.lease != nil {
		old.lease.timer.Stop()
	}
	l.timer = time.AfterFunc(l.vitals.ttl, l.review)
	l.vitals.beat(time.Now(), h, note)
	l.enter()
	return nil
}

// Update implements [discovery.Lease].
func (l *lease) Update(ctx context.Context, i discovery.Instance) error {
	if err := l.update(ctx, i); err != nil {
		return fmt.Errorf("discovery/memory: update %q: %w", l.id, err)
	}
	return nil
}

func (l *lease) update(ctx context.Context, i discovery.Instance) error {
	r := l.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	next := l.registration
	next.Instance = clone(i)
	if i.ID == "" {
		next.Instance.ID = l.id
	}
	switch {
	case i.Service != l.service:
		return fmt.Errorf("Service %q: want %q, it must stay the same", i.Service, l.service)
	case next.Instance.ID != l.id:
		return fmt.Errorf("ID %q: want %q, it must stay the same", i.ID, l.id)
	case l.released:
		return errors.New("the lease was released")
	case l.lost():
		return errors.New("the lease is lost: the ID was registered again by another")
	}
	if err := errors.Join(next.Validate(), ctx.Err(), r.failure); err != nil {
		return err
	}
	l.registration = next
	if i.Incarnation != "" {
		l.incarnation = i.Incarnation
	}
	l.enter()
	return nil
}

// Release implements [discovery.Lease].
func (l *lease) Release(ctx context.Context) error {
	first, err := l.leave()
	if !first {
		return nil
	}
	l.stop()
	select {
	case <-l.done:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("discovery/memory: release %q: %w", l.id, err)
	}
	return nil
}

// leave takes the instance out. In a failing registry it stays until its TTL and
// DeregisterAfter are over, as it would in a real one.
func (l *lease) leave() (first bool, err error) {
	r := l.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.released {
		return false, nil
	}
	l.released = true
	if r.failure != nil {
		return true, r.failure
	}
	l.forget()
	return true, nil
}

// run sends the heart-beats until the lease is released or lost.
func (l *lease) run(ctx context.Context) {
	defer close(l.done)
	ticker := time.NewTicker(l.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		h, note, ok := l.ask(ctx)
		if ok && !l.beat(h, note) {
			return
		}
	}
}

// ask returns what the server says of itself, unless it takes too long to.
func (l *lease) ask(ctx context.Context) (h discovery.Health, note string, ok bool) {
	if l.health == nil {
		return discovery.Passing, "", true
	}
	ctx, cancel := context.WithTimeout(ctx, l.every)
	defer cancel()
	h, note = l.health(ctx)
	if h > discovery.Maintenance {
		h, note = discovery.Critical, h.String()+" is none that exists"
	}
	return h, note, ctx.Err() == nil
}

// beat is one heart-beat. It reports whether others shall follow.
func (l *lease) beat(h discovery.Health, note string) bool {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	if l.released || l.lost() {
		return false
	}
	l.vitals.beat(time.Now(), h, note)
	if l.entry() == nil {
		l.enter() // the registry lost or forgot us
		return true
	}
	l.settle()
	return true
}

// review runs when vitals may have changed by themselves.
func (l *lease) review() {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	if e := l.entry(); e != nil && e.lease == l {
		l.settle()
	}
}

// enter puts the instance into the registry. registry.mu is held, here and below.
func (l *lease) enter() {
	i := l.registration.WithDefaults().Instance
	i.Incarnation = l.incarnation
	l.registry.service(l.service).entries[l.id] = &entry{instance: i, lease: l}
	l.settle()
	l.registry.changed(l.service)
}

// settle brings the entry in line with the vitals.
func (l *lease) settle() {
	now := time.Now()
	if l.vitals.forgotten(now) {
		l.forget()
		return
	}
	h, _, next := l.vitals.at(now)
	l.timer.Reset(next.Sub(now))
	if e := l.entry(); e.health != h {
		e.health = h
		l.registry.changed(l.service)
	}
}

// forget takes the instance out, if it is still this lease's.
func (l *lease) forget() {
	l.timer.Stop()
	if e := l.entry(); e != nil && e.lease == l {
		delete(l.registry.services[l.service].entries, l.id)
		l.registry.changed(l.service)
	}
}

// lost reports whether the ID now belongs to another.
func (l *lease) lost() bool {
	e := l.entry()
	return e != nil && e.lease != l
}

func (l *lease) entry() *entry {
	if s := l.registry.services[l.service]; s != nil {
		return s.entries[l.id]
	}
	return nil
}
