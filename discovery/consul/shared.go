package consul

import (
	"sync"
	"time"
)

// linger is how long a shared watch outlives its last user: a program that closes a
// client and makes it anew finds the instances still there.
const linger = 30 * time.Second

// table holds the hubs of the process, by what they were configured with. An agent
// allows 200 connections per host and each watch holds one, so all clients of a
// process share one watch per query.
var table = hubTable{hubs: make(map[string]*hub)}

// hubTable is reference-counted. Lock order: hubTable.mu before hub.mu.
type hubTable struct {
	mu   sync.Mutex
	hubs map[string]*hub
}

// Shared returns a Source that shares one connection pool, and one watch per query,
// with all sources of the process that [Shared] made from the same configuration;
// Events alone stay apart. Close gives up this source's share. Watches end 30 s after
// their last user.
func Shared(c Config) (*Source, error) { return share(c, nil) }

func share(c Config, dial dialFunc) (*Source, error) {
	e, err := c.resolve()
	if err != nil {
		return nil, err
	}
	key := e.key()
	table.mu.Lock()
	defer table.mu.Unlock()
	h := table.hubs[key]
	if h == nil {
		if h, err = newHub(e, dial, linger); err != nil {
			return nil, err
		}
		table.hubs[key] = h
	}
	h.refs++
	return newSource(c, h, true), nil
}

// drop gives up one reference to h.
func (t *hubTable) drop(h *hub) {
	t.mu.Lock()
	h.refs--
	t.mu.Unlock()
	t.sweep(h)
}

// sweep takes h out of the table once no source and no watch uses it.
func (t *hubTable) sweep(h *hub) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	key := h.agent.key()
	if h.refs > 0 || len(h.watches) > 0 || t.hubs[key] != h {
		return
	}
	h.closed = true
	delete(t.hubs, key)
	h.agent.transport.CloseIdleConnections()
}
