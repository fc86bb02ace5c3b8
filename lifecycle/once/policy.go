package once

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Policy says how calls are executed at most once. Store is required; the zero value of
// everything else is its default.
type Policy struct {
	// Store is where it is kept what was begun and what was answered. All instances of a
	// service share one: a call is repeated on another instance.
	Store Store

	// Lease is how long the silence of an instance that executes a call is taken for its
	// death: it renews the call's record each Lease/3. Then repeats are told that the
	// outcome is unknown. 100 ms to 1 h. Default 2 s (long enough for a pause of a
	// process, and within the default deadline of a call).
	Lease time.Duration

	// Scope returns whose call it is, of a handler's context: a tenant, or who was
	// authenticated. The same ID in two scopes is two calls, so that nobody gets another's
	// reply. Default nil: all callers are of one scope, as the instances of one service
	// are that trust each other.
	Scope func(ctx context.Context) string

	// MaxReply is the size in bytes up to which a reply or an error is kept. A repeat of a
	// call with a larger one is not executed again, but cannot be answered either. At most
	// 64 MiB. Default 256 KiB (half of what Consul stores as one value).
	MaxReply int

	// StoreTimeout bounds each write to the store, of which a second one is tried if the
	// first fails; and then, once, to find out whether they did. Default 1 s.
	StoreTimeout time.Duration

	// ExecuteAnyway executes calls while the store fails: then a call may be executed
	// twice. Default false: they are refused with UNAVAILABLE, marked as never executed.
	ExecuteAnyway bool
}

// WithDefaults returns p with every zero field replaced by its default.
func (p Policy) WithDefaults() Policy {
	p.Lease = cmp.Or(p.Lease, 2*time.Second)
	p.MaxReply = cmp.Or(p.MaxReply, 256<<10)
	p.StoreTimeout = cmp.Or(p.StoreTimeout, time.Second)
	return p
}

// MaxLease bounds [Policy].Lease, and what is believed of a lease in a record that somebody
// else wrote.
const MaxLease = time.Hour

const (
	minLease   = 100 * time.Millisecond
	keptLeases = 2 // a renewal comes each third of one, if none fails
	maxReply   = 64 << 20
)

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	var errs []error
	if p.Store == nil {
		errs = append(errs, errors.New("lifecycle/once: Policy.Store is nil: want one that all instances share"))
	}
	if p.Lease < minLease || p.Lease > MaxLease {
		errs = append(errs, fmt.Errorf("lifecycle/once: Policy.Lease %v: want %v to %v", p.Lease, minLease, MaxLease))
	}
	if k, ok := p.Store.(Keeper); ok && k.Keeps() < keptLeases*p.Lease {
		errs = append(errs, fmt.Errorf("lifecycle/once: Policy.Store keeps records for %v: want at least %d × Lease, which is %v: else a call is executed again while it runs", k.Keeps(), keptLeases, keptLeases*p.Lease))
	}
	if p.MaxReply < 0 || p.MaxReply > maxReply {
		errs = append(errs, fmt.Errorf("lifecycle/once: Policy.MaxReply %d: want 1 to %d bytes", p.MaxReply, maxReply))
	}
	if p.StoreTimeout < 0 {
		errs = append(errs, fmt.Errorf("lifecycle/once: Policy.StoreTimeout %v: want more than 0", p.StoreTimeout))
	}
	return errors.Join(errs...)
}
