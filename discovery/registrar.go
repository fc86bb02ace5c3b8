package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Registrar puts instances into a registry.
type Registrar interface {
	// Register makes the instance known and keeps it known until the lease is
	// released. ctx bounds the registration itself, not the lease.
	Register(ctx context.Context, r Registration) (Lease, error)
}

// Lease is one registration that is kept alive. Its methods are safe for
// concurrent use.
type Lease interface {
	// Update replaces what is registered (a new weight, say). ID and service must
	// stay the same. ctx bounds the write.
	Update(ctx context.Context, i Instance) error
	// Release takes the instance out and ends the heart-beat; it returns when both are
	// done or ctx ends. The heart-beat has ended in either case. A second call does nothing.
	Release(ctx context.Context) error
}

// Registration is what a server tells a registry about itself.
type Registration struct {
	// Instance is what callers will see. Service and Address are required; its
	// Health is ignored: see Health below.
	Instance Instance
	// TTL is how long the registry believes a heart-beat. Default 15 s, at least 1 s. A
	// heart-beat is sent each TTL/3, the first at once. Ignored if GRPC is set.
	TTL time.Duration
	// GRPC, if set, makes the registry itself call grpc.health.v1.Health/Check.
	GRPC *GRPCCheck
	// Health is asked before each heart-beat for the health to report and a short note
	// on why; nil always reports Passing. It is called by one goroutine at a time and must
	// return within TTL/3, when its context ends; one that does not counts as Critical.
	Health func(context.Context) (Health, string)
	// WarningWeight is the weight while the health is Warning. 0 means Weight.
	WarningWeight int
	// DeregisterAfter is how long the instance may be critical before the registry
	// forgets it. Default 10 min, at least 1 min: Consul's own minimum.
	DeregisterAfter time.Duration
}

// GRPCCheck is a health check that the registry makes.
type GRPCCheck struct {
	Service    string        // asked of the health service; empty means the whole server
	Interval   time.Duration // default 2 s
	Timeout    time.Duration // default 1 s
	TLS        bool          // call over TLS
	SkipVerify bool          // accept any certificate
	ServerName string        // expected in the certificate
}

// Bounds and defaults of a Registration.
const (
	DefaultTTL             = 15 * time.Second
	MinTTL                 = time.Second
	DefaultDeregisterAfter = 10 * time.Minute
	MinDeregisterAfter     = time.Minute
	DefaultCheckInterval   = 2 * time.Second
	DefaultCheckTimeout    = time.Second
)

// WithDefaults returns r with each zero field set to its default.
func (r Registration) WithDefaults() Registration {
	if r.Instance.ID == "" {
		r.Instance.ID = r.Instance.Service + "-" + r.Instance.Address
	}
	if r.Instance.Weight == 0 {
		r.Instance.Weight = 1
	}
	if r.WarningWeight == 0 {
		r.WarningWeight = r.Instance.Weight
	}
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	if r.DeregisterAfter == 0 {
		r.DeregisterAfter = DefaultDeregisterAfter
	}
	if r.GRPC != nil {
		check := *r.GRPC
		if check.Interval == 0 {
			check.Interval = DefaultCheckInterval
		}
		if check.Timeout == 0 {
			check.Timeout = DefaultCheckTimeout
		}
		r.GRPC = &check
	}
	return r
}

// Validate reports everything that is wrong with r, joined.
func (r Registration) Validate() error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("discovery: registration "+format, args...))
	}
	if r.Instance.Service == "" {
		fail("Service is empty: want the name callers look for")
	}
	if err := CheckAddress(r.Instance.Address); err != nil {
		fail("Address %q: %w", r.Instance.Address, err)
	}
	if r.Instance.Weight < 0 || r.Instance.Weight > MaxWeight {
		fail("Weight %d: want 0 (means 1) to %d", r.Instance.Weight, MaxWeight)
	}
	if r.WarningWeight < 0 || r.WarningWeight > MaxWeight {
		fail("WarningWeight %d: want 0 (means Weight) to %d", r.WarningWeight, MaxWeight)
	}
	if r.TTL != 0 && r.TTL < MinTTL {
		fail("TTL %v: want 0 (means %v) or at least %v", r.TTL, DefaultTTL, MinTTL)
	}
	if r.DeregisterAfter != 0 && r.DeregisterAfter < MinDeregisterAfter {
		fail("DeregisterAfter %v: want 0 (means %v) or at least %v", r.DeregisterAfter, DefaultDeregisterAfter, MinDeregisterAfter)
	}
	if r.GRPC != nil && (r.GRPC.Interval < 0 || r.GRPC.Timeout < 0) {
		fail("GRPC.Interval %v, GRPC.Timeout %v: want 0 (the default) or more", r.GRPC.Interval, r.GRPC.Timeout)
	}
	return errors.Join(errs...)
}

// MetaIncarnation is the key in an instance's meta under which a server writes the
// nonce of its present life, so that every client can tell it from the one before.
const MetaIncarnation = "surecall-incarnation"

// MetaLifecycle is the key under which a server tells that it marks the calls it
// refuses before executing them. Its clients then name each attempt in its metadata, so
// that the mark can be trusted.
const MetaLifecycle = "surecall-lifecycle"
