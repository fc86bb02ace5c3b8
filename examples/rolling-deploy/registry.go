package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
)

// registry is the embedded one: a registry in memory, into which the server processes
// put themselves over HTTP. It knows no heart-beats: its servers end with it.
type registry struct {
	*memory.Registry
	url    string
	server *http.Server

	mu        sync.Mutex
	instances map[string]discovery.Instance // by ID
}

func newRegistry() (*registry, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{Registry: memory.New(), url: "http://" + lis.Addr().String(), instances: map[string]discovery.Instance{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /instances/{id}", func(w http.ResponseWriter, req *http.Request) {
		var i discovery.Instance
		if err := json.NewDecoder(req.Body).Decode(&i); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.change(func() { r.instances[req.PathValue("id")] = i })
	})
	mux.HandleFunc("DELETE /instances/{id}", func(_ http.ResponseWriter, req *http.Request) {
		r.change(func() { delete(r.instances, req.PathValue("id")) })
	})
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(lis) }()
	return r, nil
}

func (r *registry) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
	r.Set(service, slices.Collect(maps.Values(r.instances))...)
}

func (r *registry) close() error { return r.server.Close() }

// remote is the embedded registry as a server process sees it: a registrar can be as
// little as this.
type remote struct{ url string }

// Register implements [discovery.Registrar].
func (r remote) Register(ctx context.Context, reg discovery.Registration) (discovery.Lease, error) {
	l := lease{r.url + "/instances/" + url.PathEscape(reg.Instance.ID)}
	return l, l.Update(ctx, reg.Instance)
}

// lease is one instance's place in the registry, by its URL.
type lease struct{ url string }

// Update implements [discovery.Lease].
func (l lease) Update(ctx context.Context, i discovery.Instance) error {
	return l.send(ctx, http.MethodPut, i)
}

// Release implements [discovery.Lease].
func (l lease) Release(ctx context.Context) error { return l.send(ctx, http.MethodDelete, nil) }

func (l lease) send(ctx context.Context, method string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, l.url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, l.url, resp.Status)
	}
	return nil
}
