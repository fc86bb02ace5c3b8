package resolver

import (
	"fmt"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

// Config is what a resolver is made of.
type Config struct {
	// Scheme is the target's scheme.
	Scheme string
	// Authority is what calls carry as :authority and TLS certificates are checked
	// against, where an instance has no name of its own.
	Authority string
	// Open returns the source, and what to call when the resolver no longer needs it.
	// Each connection opens its own; it must not block.
	Open func() (discovery.Source, func(), error)
	// Query is watched in its datacenter and, apart from it, in each of its Failover.
	Query     discovery.Query
	Loss      Loss
	Snapshots Snapshots
	Events    event.Handler
	// Monitor is shown what the source answers. May be nil.
	Monitor *Monitor
}

// Snapshots says where the last good snapshot of a source is kept on disk, for a process
// that starts while the source is down. The zero value keeps none.
type Snapshots struct {
	// Dir is a folder of the program's own, which is made if it does not exist. Any
	// number of processes may share it. Empty means that nothing is kept.
	Dir string
	// MaxAge is how old a snapshot may be and still be used. Default 24h: the least of
	// the one to three days for which RFC 8767 has resolvers serve stale answers, because
	// addresses of containers are given to others sooner than those of hosts.
	MaxAge time.Duration
}

// DefaultMaxAge is how old a snapshot on disk may be and still be used.
const DefaultMaxAge = 24 * time.Hour

// Validate reports what is wrong with s.
func (s Snapshots) Validate() error {
	switch {
	case s.MaxAge < 0:
		return fmt.Errorf("resolver: Snapshots: MaxAge %v: want 0 (means %v) or more", s.MaxAge, DefaultMaxAge)
	case s.Dir == "" && s.MaxAge > 0:
		return fmt.Errorf("resolver: Snapshots: MaxAge %v without a Dir: want both", s.MaxAge)
	}
	return nil
}

func (s Snapshots) maxAge() time.Duration {
	if s.MaxAge == 0 {
		return DefaultMaxAge
	}
	return s.MaxAge
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
	r := newAggregate(&b.config, cc)
	r.done.Go(r.run)
	return r, nil
}
