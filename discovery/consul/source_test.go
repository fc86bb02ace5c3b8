package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

// All that ask the same share one watch, a slow one delays nobody, and a late one gets
// the current set at once.
func TestWatchIsShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		s := f.source(Config{})
		release := make(chan struct{})
		slow := make(chan string, 10)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- s.Watch(ctx, web, func(s discovery.Snapshot) { slow <- ids(s); <-release })
		}()
		fast := see(s, discovery.Query{Service: "web", Tags: []string{}})
		fast.last(t)
		for i := range uint64(3) {
			r.set(11+i, up("a", "10.0.0.1"), up(fmt.Sprintf("b%d", i), "10.0.0.2"))
			time.Sleep(time.Second)
		}
		if s, _ := fast.last(t); ids(s) != "a b2 " {
			t.Errorf("the fast user has %q", ids(s))
		}
		f.requests()
		late := see(s, web)
		if s, n := late.last(t); ids(s) != "a b2 " || n != 1 {
			t.Errorf("the late user has %q", ids(s))
		}
		if n := len(f.requests()); n != 0 {
			t.Errorf("the late user cost %d queries", n)
		}
		close(release)
		synctest.Wait()
		if first, second := <-slow, <-slow; first != "a " || second != "a b2 " || len(slow) != 0 {
			t.Errorf("the slow user saw %q, %q: want the latest only", first, second)
		}
		cancel()
		<-ended
		r.set(20, up("c", "10.0.0.3"))
		if s, _ := fast.last(t); ids(s) != "c " {
			t.Errorf("after one user left the other has %q", ids(s))
		}
	})
}

// A user that joins while the agent is down gets the last set it gave, then the error.
func TestWatchLateUserDuringOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		s := f.source(Config{})
		see(s, web).last(t)
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) })
		r.set(11)
		synctest.Wait()
		late := see(s, web)
		synctest.Wait()
		if len(late.snapshots) != 2 || ids(late.snapshots[0]) != "a " || late.snapshots[0].Doubt == nil || late.snapshots[1].Err == nil {
			t.Fatalf("%+v", late.snapshots)
		}
	})
}

func TestCloseEndsWatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newFakeAgent(t, newRegistry(10).ServeHTTP).source(Config{})
		v := see(s, web)
		v.last(t)
		s.Close()
		if err := <-v.ended; !errors.Is(err, errClosed) {
			t.Fatalf("Watch returned %v", err)
		}
		if err := s.Watch(t.Context(), web, nil); !errors.Is(err, errClosed) {
			t.Fatalf("Watch after Close returned %v", err)
		}
		s.Close()
	})
}

func TestSharedLingers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, newRegistry(10, up("a", "10.0.0.1")).ServeHTTP)
		c := Config{Address: "consul.test:8500"}
		get := func() *Source {
			s, err := share(c, f.dial)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		one, two := get(), get()
		if one.hub != two.hub {
			t.Fatal("the same configuration is not shared")
		}
		v := see(one, web)
		v.last(t)
		one.Close()
		<-v.ended
		two.Close()
		time.Sleep(29 * time.Second)
		f.requests()
		three := get()
		see(three, web).last(t)
		if n := len(f.requests()); n != 0 {
			t.Errorf("%d queries for a watch that lingers", n)
		}
		three.Close()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if len(table.hubs) != 0 {
			t.Errorf("the table still holds %d hubs", len(table.hubs))
		}
	})
}

// What is quiet is told from what nobody answers for: each answer counts, an error does not.
func TestAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		s := f.source(Config{})
		age := func() time.Duration {
			synctest.Wait()
			at, ok := s.Answered(discovery.Query{Service: "web/"})
			if !ok {
				return -1
			}
			return time.Since(at)
		}
		if got := age(); got != -1 {
			t.Errorf("before the first watch: %v", got)
		}
		v := see(s, web)
		if got := age(); got != 0 {
			t.Errorf("after the first answer: %v", got)
		}
		time.Sleep(59 * time.Second)
		if got := age(); got != 59*time.Second {
			t.Errorf("while nothing changes: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := age(); got != time.Second {
			t.Errorf("after an answer without a change: %v", got)
		}
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) })
		time.Sleep(10 * time.Minute)
		if got := age(); got < 9*time.Minute {
			t.Errorf("after ten minutes of errors: %v", got)
		}
		v.cancel()
		<-v.ended
		if got := age(); got != -1 {
			t.Errorf("after the last user left: %v", got)
		}
		if _, ok := s.Answered(discovery.Query{}); ok {
			t.Error("a query that cannot work has an answer")
		}
	})
}

// After an outage the watches of a fleet do not ask in one instant.
func TestWatchesComeBackSpreadOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const fleet = 100
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		s := f.source(Config{})
		for i := range fleet {
			see(s, discovery.Query{Service: fmt.Sprintf("web-%d", i)})
		}
		synctest.Wait()
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", 500) })
		f.cut()
		time.Sleep(5 * time.Minute)
		f.handle(r.ServeHTTP)
		f.requests()
		back := time.Now()
		time.Sleep(backoffMax + time.Second)
		var seconds [int(backoffMax/time.Second) + 2]int
		for _, q := range f.requests() {
			if q.params.Has("cached") {
				seconds[q.at.Sub(back)/time.Second]++
			}
		}
		total := 0
		for _, n := range seconds {
			total += n
			if n > fleet/5 {
				t.Errorf("%d ask again within one second: %v", n, seconds)
			}
		}
		if total != fleet {
			t.Errorf("%d asked again, want %d", total, fleet)
		}
	})
}
