package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
)

// host is the process: its first instance, those that were added, and the address
// over which the tests tell it what to do.
type host struct {
	config config
	first  *instance

	mu    sync.Mutex
	added map[string]*instance
}

func (h *host) listen() (net.Addr, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	handle := func(path string, do func(ctx context.Context, form func(string) string) (string, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			answer, err := do(r.Context(), r.FormValue)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = fmt.Fprint(w, answer) // who asked may have gone
		})
	}
	handle("/health", func(_ context.Context, form func(string) string) (string, error) {
		var state discovery.Health
		if err := state.UnmarshalText([]byte(form("state"))); err != nil {
			return "", err
		}
		h.first.health.Store(uint32(state))
		return "", nil
	})
	handle("/weight", func(ctx context.Context, form func(string) string) (string, error) {
		weight, err := strconv.Atoi(form("weight"))
		if err != nil {
			return "", err
		}
		return "", h.first.setWeight(ctx, weight)
	})
	handle("/deregister", func(ctx context.Context, _ func(string) string) (string, error) {
		return "", h.first.deregister(ctx)
	})
	handle("/add", func(ctx context.Context, form func(string) string) (string, error) {
		return h.add(ctx, form("id"), form("counters"))
	})
	handle("/remove", func(_ context.Context, form func(string) string) (string, error) {
		return "", h.remove(form("id"))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(lis) }() // ends with the process
	return lis.Addr(), nil
}

// add starts a further instance, on a free port, and returns its address.
func (h *host) add(ctx context.Context, id, counters string) (string, error) {
	c := h.config
	c.address = "127.0.0.1:0"
	c.incarnation += "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	i, err := serve(c, id, counters)
	if err != nil {
		return "", err
	}
	if err := i.register(ctx); err != nil {
		i.server.Stop()
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.added[id] != nil {
		return "", fmt.Errorf("%s is there already", id)
	}
	h.added[id] = i
	return i.address(), nil
}

// remove ends an instance that was added.
func (h *host) remove(id string) error {
	h.mu.Lock()
	i := h.added[id]
	delete(h.added, id)
	h.mu.Unlock()
	if i == nil {
		return fmt.Errorf("no %s here", id)
	}
	i.leave()
	return nil
}

// leave ends all instances together.
func (h *host) leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all sync.WaitGroup
	for _, i := range h.added {
		all.Go(i.leave)
	}
	all.Go(h.first.leave)
	all.Wait()
	return nil
}
