package lifecycle_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/lifecycle"
)

// onLoopback is a life on real connections and in real time, with short steps.
func onLoopback(t *testing.T, change func(*lifecycle.Config)) (*lifecycle.Life, *grpc.Server) {
	short := 50 * time.Millisecond
	config := lifecycle.Config{
		Service: service, Listen: "127.0.0.1:0", Admin: lifecycle.Admin{Address: ":0"},
		Logger: slog.New(slog.DiscardHandler),
		Drain:  lifecycle.Drain{Propagation: short, Quiet: short, Wait: short},
	}
	if change != nil {
		change(&config)
	}
	life := lifecycle.New(config)
	return life, grpc.NewServer(life.ServerOptions()...)
}

// A connection over which nothing comes would keep gRPC from stopping for two minutes.
func TestSilentConnections(t *testing.T) {
	life, server := onLoopback(t, nil)
	if err := life.Start(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := net.Dial("tcp", life.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err != nil { // gRPC speaks first: it has accepted
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := life.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// A signal to the process ends Run, which is told here by being registered that it runs.
func TestSignals(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	life, server := onLoopback(t, func(c *lifecycle.Config) {
		c.Registrars = []discovery.Registrar{&signalling{Registry: memory.New(), signal: func() { sent <- self.Signal(syscall.SIGTERM) }}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- life.Run(ctx, server) }()
	if err := <-sent; err != nil {
		cancel()
		<-ran
		t.Skip("no signals to oneself here: ", err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

type signalling struct {
	*memory.Registry
	signal func()
}

func (s *signalling) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	defer s.signal()
	return s.Registry.Register(ctx, r)
}

func TestAdmin(t *testing.T) {
	life, server := onLoopback(t, nil)
	if err := life.Start(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	if host, _, _ := net.SplitHostPort(life.AdminAddress()); host != "127.0.0.1" {
		t.Errorf("it listens on %q", life.AdminAddress())
	}
	for _, step := range []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/healthz", 200, "live"},
		{http.MethodGet, "/readyz", 200, "ready"},
		{http.MethodGet, "/offline", 405, "GetOffline"},
		{http.MethodPost, "/offline", 200, "offline"},
		{http.MethodGet, "/readyz", 503, "offline"},
		{http.MethodGet, "/healthz", 200, "live"},
		{http.MethodGet, "/inflight", 200, `"draining":true`},
		{http.MethodPost, "/online", 200, "online"},
		{http.MethodGet, "/readyz", 200, "ready"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), step.method, "http://"+life.AdminAddress()+step.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != step.status || !strings.Contains(string(body), step.body) {
			t.Errorf("%s %s: %d %s, want %d %s", step.method, step.path, answer.StatusCode, body, step.status, step.body)
		}
	}
	if err := life.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if life.AdminAddress() == "" || context.Cause(t.Context()) != nil {
		t.Error("it has no address")
	}
}

// An address in use is told, and nothing stays open.
func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(*lifecycle.Config){
		"Listen":        func(c *lifecycle.Config) { c.Listen = taken.Addr().String() },
		"Admin.Address": func(c *lifecycle.Config) { c.Admin.Address = taken.Addr().String() },
	} {
		life, server := onLoopback(t, change)
		if err := life.Start(t.Context(), server); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v: want %s named", err, name)
		}
		if address := life.Address(); address != "" {
			if lis, err := net.Listen("tcp", address); err != nil {
				t.Errorf("it still listens: %v", err)
			} else {
				lis.Close()
			}
		}
	}
}
