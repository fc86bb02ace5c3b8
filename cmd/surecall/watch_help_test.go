package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/status"
)

// serve starts a server of health alone, which a client that makes no calls needs.
func serve(t *testing.T, options ...grpc.ServerOption) (address string, kill func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	kill = func() {
		server.Stop()
		serving.Wait()
	}
	t.Cleanup(kill)
	return listener.Addr().String(), kill
}

// nobody is an address where connections are refused.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// runs runs the program to its end.
func runs(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// watching is a watch that runs.
type watching struct {
	lines  *bufio.Scanner
	stderr *lockedBuffer
	stop   func() (code int)
}

// startWatch runs watch with args until stop is called, or the test ends.
func startWatch(t *testing.T, args ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	w := &watching{lines: bufio.NewScanner(read), stderr: &lockedBuffer{}}
	w.lines.Buffer(nil, 1<<20)
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"watch"}, args...), write, w.stderr)
		_ = write.Close()
	}()
	w.stop = sync.OnceValue(func() int {
		cancel()
		_ = read.Close()
		return <-ended
	})
	t.Cleanup(func() { w.stop() })
	return w
}

// next returns the next line of JSON.
func (w *watching) next(t *testing.T) []status.Status {
	t.Helper()
	if !w.lines.Scan() {
		t.Fatalf("watch has ended: %v; it said %s", w.lines.Err(), w.stderr.String())
	}
	var d document
	if err := json.Unmarshal(w.lines.Bytes(), &d); err != nil {
		t.Fatalf("%v: %s", err, w.lines.Text())
	}
	return d.Clients
}

// until reads on until an instance is in a state.
func (w *watching) until(t *testing.T, address, state string) {
	t.Helper()
	for {
		for _, s := range w.next(t) {
			for _, i := range s.Instances {
				if i.Address == address && i.State == state {
					return
				}
			}
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// process is what has a status page.
type process struct {
	mu      sync.Mutex
	clients []status.Status
	asked   chan struct{} // a value for each request that was answered
}

func newProcess(clients ...status.Status) *process {
	return &process{clients: clients, asked: make(chan struct{}, 1000)}
}

func (p *process) set(clients ...status.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = clients
}

// page serves the status page of p.
func (p *process) page(t *testing.T) *httptest.Server {
	t.Helper()
	handler := status.Handler(func() []status.Status {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.clients
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		p.asked <- struct{}{}
	}))
	t.Cleanup(server.Close)
	return server
}

// fleetFile writes a file that a static target names.
func fleetFile(t *testing.T, addresses ...string) string {
	t.Helper()
	var set []map[string]string
	for _, address := range addresses {
		set = append(set, map[string]string{"address": address})
	}
	content, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "fleet.json")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
