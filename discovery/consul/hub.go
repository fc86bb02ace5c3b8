package consul

import (
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
)

// hub is the client of one agent and the watches on it.
type hub struct {
	agent  *agent
	dial   dialFunc
	linger time.Duration // how long a watch outlives its last user

	mu      sync.Mutex
	closed  bool
	watches map[string]*watch

	refs int // sources that share it; guarded by table.mu
}

func newHub(e endpoint, dial dialFunc, linger time.Duration) (*hub, error) {
	a, err := newAgent(e, dial)
	if err != nil {
		return nil, err
	}
	return &hub{agent: a, dial: dial, linger: linger, watches: make(map[string]*watch)}, nil
}

// acquire returns the watch of q, started if it is the first.
func (h *hub) acquire(q discovery.Query) (*watch, error) {
	key := queryKey(q)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	w := h.watches[key]
	if w == nil {
		w = startWatch(h.agent, q)
		h.watches[key] = w
	}
	if w.linger != nil {
		w.linger.Stop()
		w.linger = nil
	}
	w.users++
	return w, nil
}

// find returns the watch of q, or nil.
func (h *hub) find(q discovery.Query) *watch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watches[queryKey(q)]
}

// release ends the watch with its last user: at once and awaited, or after the linger.
func (h *hub) release(w *watch) {
	h.mu.Lock()
	w.users--
	if w.users == 0 && h.linger > 0 && !h.closed {
		w.linger = time.AfterFunc(h.linger, func() { h.expire(w) })
		h.mu.Unlock()
		return
	}
	last := w.users == 0
	if last {
		h.forget(w)
	}
	h.mu.Unlock()
	if last {
		w.stop()
	}
}

// expire ends a watch that nobody came back to.
func (h *hub) expire(w *watch) {
	h.mu.Lock()
	unused := w.users == 0
	if unused {
		h.forget(w)
	}
	h.mu.Unlock()
	if unused {
		w.stop()
		table.sweep(h)
	}
}

// forget takes w out of the table. It requires h.mu.
func (h *hub) forget(w *watch) {
	if key := queryKey(w.query); h.watches[key] == w {
		delete(h.watches, key)
	}
}

// close ends all watches and waits for them.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	watches := h.watches
	h.watches = nil
	h.mu.Unlock()
	for _, w := range watches {
		w.stop()
	}
	h.agent.transport.CloseIdleConnections()
}
