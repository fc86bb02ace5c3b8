package consul

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

var orders = discovery.Registration{Instance: discovery.Instance{
	ID: "o1", Service: "orders", Address: "[2001:db8::1]:50051", Weight: 10, Incarnation: "nonce", ServerName: "orders.internal",
	Region: "eu", Zone: "eu-1", Tags: []string{"v2"}, Meta: map[string]string{"team": "a"},
}}

// ok is an agent that takes every write.
func ok(http.ResponseWriter, *http.Request) {}

// paths lists what was asked, shortened.
func paths(asked []request) string {
	var p []string
	for _, r := range asked {
		p = append(p, strings.TrimPrefix(r.path, "/v1/agent/"))
	}
	return strings.Join(p, " ")
}

const (
	regPath  = "service/register"
	beatPath = "check/update/surecall:o1"
	outPath  = "service/deregister/o1"
)

func register(t *testing.T, s *Source, r discovery.Registration) discovery.Lease {
	t.Helper()
	l, err := s.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRegisterWritesWhatReadersExpect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		register(t, f.source(Config{}), orders)
		asked := f.requests()
		if paths(asked) != regPath+" "+beatPath {
			t.Fatalf("asked %s: want the first heart-beat at once", paths(asked))
		}
		var got api.AgentServiceRegistration
		if err := json.Unmarshal([]byte(asked[0].body), &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != "o1" || got.Name != "orders" || got.Address != "2001:db8::1" || got.Port != 50051 ||
			got.Weights.Passing != 10 || got.Weights.Warning != 10 || *got.Locality != (api.Locality{Region: "eu", Zone: "eu-1"}) ||
			got.Meta["surecall-incarnation"] != "nonce" || got.Meta["surecall-server-name"] != "orders.internal" || got.Meta["team"] != "a" {
			t.Errorf("registered %+v", got)
		}
		if c := got.Check; c.TTL != "15s" || c.Status != "passing" || c.DeregisterCriticalServiceAfter != "10m0s" {
			t.Errorf("check %+v", c)
		}
	})
}

func TestRegisterGRPCCheck(t *testing.T) {
	r := orders
	r.GRPC = &discovery.GRPCCheck{Service: "orders.v1.Orders", TLS: true}
	c := agentRegistration(r.WithDefaults(), discovery.Passing).Check
	if c.GRPC != "[2001:db8::1]:50051/orders.v1.Orders" || c.Interval != "2s" || c.Timeout != "1s" || !c.GRPCUseTLS || c.TTL != "" || c.Status != "" {
		t.Errorf("check %+v", c)
	}
}

func TestRegisterRefuses(t *testing.T) {
	s, err := New(Config{Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for want, change := range map[string]func(*discovery.Registration){
		"unspecified": func(r *discovery.Registration) { r.Instance.Address = "0.0.0.0:1" },
		"unix socket": func(r *discovery.Registration) {
			r.Instance.Address, r.GRPC = "unix:/s", &discovery.GRPCCheck{}
		},
		"slash":   func(r *discovery.Registration) { r.Instance.Service = "orders/" },
		"Service": func(r *discovery.Registration) { r.Instance.Service = "" },
	} {
		r := orders
		change(&r)
		if _, err := s.Register(t.Context(), r); !strings.Contains(text(err), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		r := orders
		r.Health = func(context.Context) (discovery.Health, string) { return discovery.Warning, "disk is full" }
		register(t, f.source(Config{}), r)
		f.requests()
		time.Sleep(50 * time.Second)
		synctest.Wait()
		beats := f.requests()
		if len(beats) < 10 || len(beats) > 11 {
			t.Fatalf("%d heart-beats in 50 s, want one each 4.5 to 5 s", len(beats))
		}
		for i, b := range beats {
			if b.path != "/v1/agent/"+beatPath || !strings.Contains(b.body, `"warning"`) || !strings.Contains(b.body, "disk is full") {
				t.Fatalf("beat %+v", b)
			}
			if i > 0 && b.at.Sub(beats[i-1].at) > 5*time.Second {
				t.Fatalf("a beat came after %v", b.at.Sub(beats[i-1].at))
			}
		}
		time.Sleep(15 * time.Second)
		if !strings.Contains(paths(f.requests()), regPath) {
			t.Error("not registered again after a minute")
		}
	})
}

// 404 means that the agent lost us.
func TestHeartbeatRegistersAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		register(t, f.source(Config{}), orders)
		lost := true
		f.requests()
		f.handle(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "register") {
				lost = false
			} else if lost {
				http.Error(w, `Unknown check ID "surecall:o1"`, 404)
			}
		})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := paths(f.requests()); got != beatPath+" "+regPath+" "+beatPath {
			t.Fatalf("asked %s", got)
		}
	})
}

// Trouble is retried for ever, told once, and ends with a new registration, since the
// agent may have been another one meanwhile.
func TestHeartbeatOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var events []event.Event
		f := newFakeAgent(t, ok)
		register(t, f.source(Config{Events: func(e event.Event) { events = append(events, e) }}), orders)
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", 500) })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(f.requests()); n < 600 || n > 1800 {
			t.Errorf("%d tries in 10 minutes, want one or two each second", n)
		}
		f.handle(ok)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := paths(f.requests()); !strings.HasPrefix(got, regPath+" "+beatPath) {
			t.Errorf("asked %s", got)
		}
		if len(events) != 2 {
			t.Fatalf("events %+v", events)
		}
		if e, ok := events[0].(event.RegistrationDegraded); !ok || e.Instance != "o1" || e.Err == nil {
			t.Errorf("first event %+v", events[0])
		}
		if e, ok := events[1].(event.RegistrationRecovered); !ok || e.After < 9*time.Minute {
			t.Errorf("second event %+v", events[1])
		}
	})
}

// A hanging agent holds up neither the heart-beat nor a release for more than 3 s.
func TestHangingAgentIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		s := f.source(Config{})
		l := register(t, s, orders)
		f.handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		if err := l.Update(context.Background(), orders.Instance); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != writeTimeout {
			t.Errorf("Update: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		if _, err := s.Register(context.Background(), orders); err == nil || time.Since(start) != writeTimeout {
			t.Errorf("Register: %v after %v", err, time.Since(start))
		}
		time.Sleep(5 * time.Second) // a beat may hang now
		start = time.Now()
		if err := l.Release(context.Background()); err == nil || time.Since(start) > writeTimeout {
			t.Errorf("Release: %v after %v", err, time.Since(start))
		}
		f.requests()
		time.Sleep(time.Minute)
		if n := len(f.requests()); n != 0 {
			t.Errorf("%d requests after Release", n)
		}
	})
}

func TestRegisterRetriesPassingTrouble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n atomic.Int32
		f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) <= 2 {
				http.Error(w, "no leader", 500)
			}
		})
		register(t, f.source(Config{}), orders)
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Permission denied", 403) })
		start := time.Now()
		if _, err := f.source(Config{}).Register(t.Context(), orders); err == nil || time.Since(start) != 0 {
			t.Errorf("a refused registration: %v after %v, want an error at once", err, time.Since(start))
		}
	})
}

func TestUpdateAndRelease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		l := register(t, f.source(Config{}), orders)
		f.requests()
		i := orders.Instance
		i.Weight = 3
		if err := l.Update(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		asked := f.requests()
		if paths(asked) != regPath+" "+beatPath || !strings.Contains(asked[0].body, `"Weights":{"Passing":3,"Warning":3}`) {
			t.Fatalf("asked %+v", asked)
		}
		i.ID = "other"
		if err := l.Update(t.Context(), i); err == nil {
			t.Error("the ID could be changed")
		}
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Unknown service ID", 404) })
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("release of what the agent forgot: %v", err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("second release: %v", err)
		}
		if err := l.Update(t.Context(), orders.Instance); err == nil {
			t.Error("updated after Release")
		}
		if got := paths(f.requests()); got != outPath {
			t.Errorf("asked %s", got)
		}
		time.Sleep(time.Minute)
		if n := len(f.requests()); n != 0 {
			t.Errorf("%d requests after Release", n)
		}
	})
}

// A beat that is under way when Release comes is awaited, and nothing registers the
// instance again after it was taken out.
func TestReleaseAwaitsTheBeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		l := register(t, f.source(Config{}), orders)
		f.requests()
		f.handle(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "check/update") {
				time.Sleep(time.Second)
				http.Error(w, "Unknown check ID", 404)
			}
		})
		time.Sleep(5 * time.Second) // the beat of 4.5 to 5 s is under way
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := paths(f.requests())
		if !strings.HasSuffix(got, outPath) || strings.Count(got, outPath) != 1 {
			t.Errorf("asked %s: want the deregistration last", got)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.dialled) != 1 {
			t.Errorf("dialled %v: want one connection for all writes", f.dialled)
		}
	})
}

func TestCloseEndsHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		s := f.source(Config{})
		l := register(t, s, orders)
		s.Close()
		f.requests()
		time.Sleep(time.Minute)
		if n := len(f.requests()); n != 0 {
			t.Errorf("%d requests after Close", n)
		}
		if err := l.Release(t.Context()); err != nil || paths(f.requests()) != outPath {
			t.Errorf("release after Close: %v", err)
		}
		if _, err := s.Register(t.Context(), orders); !errors.Is(err, errClosed) {
			t.Errorf("register after Close: %v", err)
		}
	})
}

// A name with several addresses must not lead a heart-beat to another agent.
func TestLeaseStaysWithItsAgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		first, second := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8500}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 8500}
		f.remote = first
		register(t, f.source(Config{}), orders)
		cut := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
		f.handle(cut)
		f.mu.Lock()
		f.remote = second // where the name leads now
		f.mu.Unlock()
		time.Sleep(10 * time.Second)
		f.mu.Lock()
		for _, address := range f.dialled[1:] {
			if address != first.String() {
				t.Fatalf("dialled %v: want the agent that has the registration", f.dialled)
			}
		}
		if len(f.dialled) < 2 {
			t.Fatal("did not dial again")
		}
		f.refuse[first.String()] = true
		f.dialled = nil
		f.mu.Unlock()
		f.handle(ok)
		f.requests()
		time.Sleep(25 * time.Second) // longer than the TTL: it is critical there by now
		synctest.Wait()
		if got := paths(f.requests()); !strings.HasPrefix(got, regPath+" "+beatPath) {
			t.Errorf("asked of the other agent: %s", got)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if last := f.dialled[len(f.dialled)-1]; last != "consul.test:8500" {
			t.Errorf("dialled %v: want the name again at last", f.dialled)
		}
	})
}

func TestPinPatience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var dialled []string
		down := false
		p := &pin{patience: time.Minute, broke: func() {}, dial: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			if down && address != "name:1" {
				return nil, io.EOF
			}
			ours, theirs := net.Pipe()
			theirs.Close()
			return remoteConn{ours, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}}, nil
		}}
		try := func(want string) {
			t.Helper()
			dialled = nil
			_, _ = p.DialContext(t.Context(), "tcp", "name:1")
			if got := strings.Join(dialled, " "); got != want {
				t.Errorf("dialled %s, want %s", got, want)
			}
		}
		try("name:1")
		try("10.0.0.1:1")
		down = true
		try("10.0.0.1:1")
		time.Sleep(59 * time.Second)
		try("10.0.0.1:1")
		time.Sleep(2 * time.Second)
		try("10.0.0.1:1 name:1")
	})
}
