package consul

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

// fakeAgent is an agent for faults: a handler on in-memory connections, so that whole
// minutes of waiting pass at once in a bubble.
type fakeAgent struct {
	t      *testing.T
	server *http.Server
	conns  chan net.Conn

	mu      sync.Mutex
	handler http.HandlerFunc
	seen    []request
	dialled []string
	pipes   []net.Conn      // the agent's ends of all connections
	refuse  map[string]bool // addresses that cannot be dialled
	remote  net.Addr        // what connections say they lead to
}

// request is what the agent was asked, and when.
type request struct {
	method, path, token string
	params              url.Values
	body                string
	at                  time.Time
}

func newFakeAgent(t *testing.T, handler http.HandlerFunc) *fakeAgent {
	f := &fakeAgent{t: t, conns: make(chan net.Conn), handler: handler, refuse: map[string]bool{}}
	f.server = &http.Server{Handler: http.HandlerFunc(f.serve)}
	go func() { _ = f.server.Serve(f) }()
	t.Cleanup(func() { f.server.Close() })
	return f
}

func (f *fakeAgent) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.seen = append(f.seen, request{r.Method, r.URL.Path, r.Header.Get("X-Consul-Token"), r.URL.Query(), string(body), time.Now()})
	h := f.handler
	f.mu.Unlock()
	h(w, r)
}

func (f *fakeAgent) handle(h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handler = h
}

// requests returns what was asked, and forgets it.
func (f *fakeAgent) requests() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

func (f *fakeAgent) dial(ctx context.Context, _, address string) (net.Conn, error) {
	f.mu.Lock()
	f.dialled = append(f.dialled, address)
	refused, remote := f.refuse[address], f.remote
	f.mu.Unlock()
	if refused {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: io.ErrClosedPipe}
	}
	ours, theirs := net.Pipe()
	select {
	case f.conns <- theirs:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.pipes = append(f.pipes, theirs)
		return remoteConn{ours, remote}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cut ends all connections, as the end of the agent's process does.
func (f *fakeAgent) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.pipes {
		c.Close()
	}
	f.pipes = nil
}

type remoteConn struct {
	net.Conn
	remote net.Addr
}

func (c remoteConn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// Accept, Close and Addr make it the server's listener.
func (f *fakeAgent) Accept() (net.Conn, error) {
	c, ok := <-f.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (f *fakeAgent) Close() error   { close(f.conns); return nil }
func (f *fakeAgent) Addr() net.Addr { return &net.TCPAddr{} }

// source returns a source on the agent, closed with the test.
func (f *fakeAgent) source(c Config) *Source {
	c.Address = "consul.test:8500"
	s, err := open(c, f.dial)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() })
	return s
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, run func(t *testing.T)) {
	t.Setenv("CONSUL_HTTP_ADDR", "")
	t.Setenv("CONSUL_HTTP_TOKEN", "")
	synctest.Test(t, run)
}

// view records what a watch reports.
type view struct {
	mu        sync.Mutex
	snapshots []discovery.Snapshot
	cancel    context.CancelFunc
	ended     chan error
}

func see(s *Source, q discovery.Query) *view {
	ctx, cancel := context.WithCancel(context.Background())
	v := &view{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		v.ended <- s.Watch(ctx, q, func(s discovery.Snapshot) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.snapshots = append(v.snapshots, s)
		})
	}()
	return v
}

// last returns the newest snapshot, after everything settled, and how many there were.
func (v *view) last(t *testing.T) (discovery.Snapshot, int) {
	t.Helper()
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.snapshots) == 0 {
		t.Fatal("no snapshot")
	}
	return v.snapshots[len(v.snapshots)-1], len(v.snapshots)
}

func ids(s discovery.Snapshot) string {
	text := ""
	for _, i := range s.Instances {
		text += i.ID + " "
	}
	return text
}

// registry is a fake catalog of one service that blocks as Consul does.
type registry struct {
	mu      sync.Mutex
	index   uint64
	list    []entry
	changed chan struct{}
	headers map[string]string
	leader  func(w http.ResponseWriter) bool // answers a read of the leader; false: not handled
}

func newRegistry(index uint64, list ...entry) *registry {
	return &registry{index: index, list: list, changed: make(chan struct{}), headers: map[string]string{
		"X-Consul-Query-Backend": "streaming", "X-Consul-KnownLeader": "false", "X-Consul-LastContact": "0",
	}}
}

func (r *registry) set(index uint64, list ...entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index, r.list = index, list
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	params := req.URL.Query()
	index, _ := strconv.ParseUint(params.Get("index"), 10, 64)
	wait, _ := time.ParseDuration(params.Get("wait"))
	r.mu.Lock()
	changed, current, leader := r.changed, r.index, r.leader
	r.mu.Unlock()
	if _, cached := params["cached"]; index == 0 && !cached && leader != nil && leader(w) {
		return
	}
	if index > 0 && index == current {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-changed:
		case <-timer.C:
		case <-req.Context().Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, v := range r.headers {
		w.Header().Set(k, v)
	}
	if _, cached := params["cached"]; index == 0 && !cached {
		w.Header().Set("X-Consul-Query-Backend", "blocking-query")
		w.Header().Set("X-Consul-KnownLeader", "true")
	}
	if r.headers["X-Consul-Index"] == "" {
		w.Header().Set("X-Consul-Index", strconv.FormatUint(r.index, 10))
	}
	writeEntries(w, r.list)
}

func writeEntries(w http.ResponseWriter, list []entry) {
	if list == nil {
		list = []entry{}
	}
	_ = json.NewEncoder(w).Encode(list)
}

// up is a passing instance.
func up(id, host string) entry {
	e := entry{Node: node{Node: "node-" + id, Address: host}}
	e.Service = service{ID: id, Service: "web", Address: host, Port: 8080, CreateIndex: 5, ModifyIndex: 5}
	e.Service.Weights.Passing, e.Service.Weights.Warning = 1, 1
	e.Checks = []check{{"serfHealth", "passing"}}
	return e
}
