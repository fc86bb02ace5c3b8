package main

import (
	"context"
	"errors"
	"sync"

	"github.com/surecall/surecall/discovery"
)

// registrar is Consul, with a hand of the test in what it is told.
type registrar struct {
	discovery.Registrar
	once sync.Once
	made chan struct{} // closed when the instance is registered for the first time

	mu     sync.Mutex
	health discovery.Health // that the next heart-beat reports, if not Passing
	what   discovery.Instance
	lease  discovery.Lease
}

var errNotRegistered = errors.New("not registered yet")

// Register implements [discovery.Registrar].
func (r *registrar) Register(ctx context.Context, what discovery.Registration) (discovery.Lease, error) {
	own := what.Health
	what.Health = func(ctx context.Context) (discovery.Health, string) {
		r.mu.Lock()
		told := r.health
		r.mu.Unlock()
		if told != discovery.Passing {
			return told, "set by the test"
		}
		return own(ctx)
	}
	lease, err := r.Registrar.Register(ctx, what)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.what, r.lease = what.Instance, lease
	r.mu.Unlock()
	r.once.Do(func() { close(r.made) })
	return lease, nil
}

func (r *registrar) setHealth(h discovery.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health = h
}

func (r *registrar) setWeight(ctx context.Context, weight int) error {
	r.mu.Lock()
	what, lease := r.what, r.lease
	r.mu.Unlock()
	if lease == nil {
		return errNotRegistered
	}
	what.Weight = weight
	return lease.Update(ctx, what)
}

// deregister leaves Consul and goes on serving.
func (r *registrar) deregister(ctx context.Context) error {
	r.mu.Lock()
	lease := r.lease
	r.mu.Unlock()
	if lease == nil {
		return errNotRegistered
	}
	return lease.Release(ctx)
}
