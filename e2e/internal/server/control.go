package main

import (
	"context"
	"fmt"
	"io"
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

func (h *host) listen() (net.Listener, error) { return net.Listen("tcp", h.config.control) }

func (h *host) serve(lis net.Listener) {
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
	registrar := h.first.registrar
	handle("/health", func(_ context.Context, form func(string) string) (string, error) {
		var state discovery.Health
		if err := state.UnmarshalText([]byte(form("state"))); err != nil {
			return "", err
		}
		registrar.setHealth(state)
		return "", nil
	})
	handle("/weight", func(ctx context.Context, form func(string) string) (string, error) {
		weight, err := strconv.Atoi(form("weight"))
		if err != nil {
			return "", err
		}
		return "", registrar.setWeight(ctx, weight)
	})
	handle("/deregister", func(ctx context.Context, _ func(string) string) (string, error) {
		return "", registrar.deregister(ctx)
	})
	handle("/offline", func(ctx context.Context, _ func(string) string) (string, error) {
		return h.first.offline(ctx)
	})
	handle("/online", func(ctx context.Context, _ func(string) string) (string, error) {
		return "", h.first.admin(ctx, "/online")
	})
	handle("/add", func(ctx context.Context, form func(string) string) (string, error) {
		return h.add(ctx, form("id"), form("counters"))
	})
	handle("/remove", func(_ context.Context, form func(string) string) (string, error) {
		return "", h.remove(form("id"))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	_ = srv.Serve(lis)
}

// offline sends the instance offline by its admin endpoint, and returns by how much the
// last attempt arrived later than that was asked: negative if none did.
func (i *instance) offline(ctx context.Context) (string, error) {
	asked := time.Now()
	if err := i.admin(ctx, "/offline"); err != nil {
		return "", err
	}
	last := i.handler.born.Add(time.Duration(i.handler.newest.Load()))
	return last.Sub(asked).String(), nil
}

// admin calls the admin endpoint of the life, as an operator would.
func (i *instance) admin(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+i.life.AdminAddress()+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s: %s", path, resp.Status, body)
	}
	return nil
}

// add starts a further instance, on a free port, and returns its address.
func (h *host) add(ctx context.Context, id, counters string) (string, error) {
	c := h.config
	c.address = "127.0.0.1:0"
	i, err := newInstance(c, id, counters, func(*instance) {})
	if err != nil {
		return "", err
	}
	if err := i.life.Start(ctx, i.server); err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.added[id] != nil {
		return "", fmt.Errorf("%s is there already", id)
	}
	h.added[id] = i
	return i.life.Address(), nil
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
	return i.life.Stop(context.Background())
}

// leave ends all instances that were added, together.
func (h *host) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all sync.WaitGroup
	for _, i := range h.added {
		all.Go(func() { _ = i.life.Stop(context.Background()) })
	}
	all.Wait()
}
