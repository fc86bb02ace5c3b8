package resolver

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
)

// fresh is a source that says when it last had an answer.
type fresh struct {
	discovery.Source
	mu sync.Mutex
	at time.Time
}

func (f *fresh) Answered(discovery.Query) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, !f.at.IsZero()
}

func (f *fresh) answer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = time.Now()
}

// TestStatus follows a source through its life.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, registry := &Monitor{}, memory.New()
		saw := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := m.Status("orders").String(); got != want {
				t.Errorf("status %q, want %q", got, want)
			}
		}
		saw("orders: no answer, not trusted: it has not been asked: the client has not connected yet")
		on := earlier(t, registry, "a b")
		registry.Fail(errors.New("no route to host"))
		time.Sleep(2 * time.Hour)

		source := &fresh{Source: registry}
		end := life(t, source, Config{Monitor: m}, &stubConn{})
		saw("orders: no answer, not trusted: discovery/memory: no route to host")
		end()

		end = life(t, source, Config{Monitor: m, Snapshots: on}, &stubConn{})
		saw("orders: 2 instances from disk, not trusted, saved 2h0m0s ago: discovery/memory: no route to host")
		registry.Recover()
		saw("orders: 2 instances, trusted, answered 0s ago")
		time.Sleep(time.Minute)
		saw("orders: 2 instances, trusted, answered 1m0s ago")
		source.answer() // and it changed nothing
		time.Sleep(2 * time.Second)
		saw("orders: 2 instances, trusted, answered 2s ago")
		registry.Set("orders", set("a")...)
		source.answer()
		saw("orders: 1 instance, trusted, answered 0s ago")
		registry.Set("orders")
		saw("orders: 0 instances, 1 absent, not trusted, answered 0s ago: more than half of the instances vanished in one snapshot")
		time.Sleep(DefaultHold)
		saw("orders: 0 instances, trusted, answered 5m0s ago")
		registry.Fail(errors.New("token=abc refused"))
		saw("orders: 0 instances, not trusted, answered 5m0s ago: discovery/memory: token=*** refused")
		registry.Recover()
		source.answer()
		saw("orders: 0 instances, trusted, answered 0s ago")
		time.Sleep(time.Minute)
		end()
		saw("orders: 0 instances, not trusted, answered 1m0s ago: it is no longer asked: the client is idle or closed")
	})
}

// TestStatusOfDatacenters: what is said of all is the worst that is said of one.
func TestStatusOfDatacenters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d := &Monitor{}, newDatacenters("eu", "us")
		d["eu"].Set("orders", at("1", "a b")...)
		d["us"].Set("orders", at("2", "c")...)
		c := inEuUs(Config{Monitor: m})
		t.Cleanup(life(t, d, c, &stubConn{}))
		time.Sleep(time.Second)
		d["us"].Set("orders", at("2", "c d")...)
		d["eu"].Fail(errDown)
		synctest.Wait()
		s := m.Status("orders")
		if got, want := s.String(), "orders: eu: 2 instances, not trusted, answered 1s ago: discovery/memory: connection refused; us: 2 instances, trusted, answered 0s ago"; got != want {
			t.Errorf("status %q, want %q", got, want)
		}
		want := Answer{Instances: 4, At: time.Now().Add(-time.Second), Age: time.Second, Why: "eu: discovery/memory: connection refused"}
		if !s.At.Equal(want.At) {
			t.Errorf("at %v, want %v", s.At, want.At)
		}
		if s.At = want.At; !reflect.DeepEqual(s.Answer, want) {
			t.Errorf("all together %+v, want %+v", s.Answer, want)
		}
	})
}

// TestSuccessorIsShown: a resolver that ends late does not hide the one after it.
func TestSuccessorIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, registry := &Monitor{}, memory.New()
		registry.Set("orders", set("a")...)
		end := life(t, registry, Config{Monitor: m}, &stubConn{})
		t.Cleanup(life(t, registry, Config{Monitor: m}, &stubConn{}))
		end()
		if s := m.Status("orders"); !s.Trusted {
			t.Errorf("status %v", s)
		}
	})
}

// TestStatusWhileThingsChange: it may be asked for at any time.
func TestStatusWhileThingsChange(t *testing.T) {
	m, registry := &Monitor{}, memory.New()
	cc := &stubConn{}
	open := func() (discovery.Source, func(), error) { return registry, func() {}, nil }
	r, err := NewBuilder(Config{Open: open, Query: discovery.Query{Service: "orders"}, Monitor: m}).Build(resolver.Target{}, cc, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for range 500 {
				if s := m.Status("orders").String(); !strings.HasPrefix(s, "orders: ") {
					t.Error(s)
				}
			}
		})
	}
	for n := range 100 {
		registry.Set("orders", set(strings.Repeat("a", n%2))...)
	}
	asking.Wait()
	r.Close()
}
