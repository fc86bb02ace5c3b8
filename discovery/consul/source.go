package consul

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// Source finds instances in Consul and puts some into it. It is a [discovery.Source],
// a [discovery.Registrar], a [discovery.Explainer] and a [discovery.Freshness], safe for
// concurrent use. Make one with [New] or [Shared].
type Source struct {
	config Config
	hub    *hub
	shared bool
	closed chan struct{}

	mu     sync.Mutex
	ended  bool
	leases map[*lease]struct{}
}

var (
	_ discovery.Source    = (*Source)(nil)
	_ discovery.Registrar = (*Source)(nil)
	_ discovery.Explainer = (*Source)(nil)
	_ discovery.Freshness = (*Source)(nil)
)

var errClosed = errors.New("discovery/consul: the source is closed")

// New returns a Source with a connection of its own. It does no network I/O: whether the
// agent answers shows in the first snapshot.
func New(c Config) (*Source, error) { return open(c, nil) }

func open(c Config, dial dialFunc) (*Source, error) {
	e, err := c.resolve()
	if err != nil {
		return nil, err
	}
	h, err := newHub(e, dial, 0)
	if err != nil {
		return nil, err
	}
	return newSource(c, h, false), nil
}

func newSource(c Config, h *hub, shared bool) *Source {
	return &Source{config: c, hub: h, shared: shared, closed: make(chan struct{}), leases: make(map[*lease]struct{})}
}

// String describes the source without any secret: two that find other instances for the
// same query read otherwise, since snapshots on disk are told apart by it.
func (s *Source) String() string {
	e := s.hub.agent.endpoint
	text := "consul at " + e.name() + e.prefix
	for _, f := range [][2]string{{"datacenter", e.Datacenter}, {"namespace", e.Namespace}, {"partition", e.Partition}} {
		if f[1] != "" {
			text += ", " + f[0] + " " + f[1]
		}
	}
	return text
}

// Client returns the client of Consul's API that the source itself uses, with its address,
// TLS and token: for questions that a Source does not ask. After Close it has no idle
// connections. It has no timeout of its own, so give each request a context with a deadline.
func (s *Source) Client() *api.Client { return s.hub.agent.api }

// Watch implements [discovery.Source]. All calls with the same query share one watch of
// the agent; a late one gets the current snapshot at once. While the agent gives no
// answer, a late or slow one gets the last set it gave, doubted, before the error.
func (s *Source) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	q, err := s.hub.agent.normalize(q)
	if err != nil {
		return err
	}
	select {
	case <-s.closed:
		return errClosed
	default:
	}
	w, err := s.hub.acquire(q)
	if err != nil {
		return err
	}
	defer s.hub.release(w)
	return w.serve(ctx, s.closed, update)
}

// Answered implements [discovery.Freshness] for queries that are watched. While nothing
// changes the agent answers once in each [Config.WaitTime], a prepared query in each
// [Config.Refresh].
func (s *Source) Answered(q discovery.Query) (at time.Time, ok bool) {
	q, err := s.hub.agent.normalize(q)
	if err != nil {
		return time.Time{}, false
	}
	w := s.hub.find(q)
	if w == nil {
		return time.Time{}, false
	}
	at = w.lastAnswer()
	return at, !at.IsZero()
}

// Close ends all watches, whose Watch calls then return an error, and the heart-beats
// of leases that were not released: their registrations expire. It returns when
// nothing of the source runs any more; only watches of a [Shared] source linger.
func (s *Source) Close() error {
	s.mu.Lock()
	first := !s.ended
	s.ended = true
	leases := make([]*lease, 0, len(s.leases))
	for l := range s.leases {
		leases = append(leases, l)
	}
	s.mu.Unlock()
	if !first {
		return nil
	}
	close(s.closed)
	for _, l := range leases {
		l.abandon()
	}
	if s.shared {
		table.drop(s.hub)
		return nil
	}
	s.hub.close()
	return nil
}

// forget drops a lease that was released.
func (s *Source) forget(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, l)
}
