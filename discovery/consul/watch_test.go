package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

var web = discovery.Query{Service: "web"}

func TestWatchReportsAndFollows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		v := see(newFakeAgent(t, r.ServeHTTP).source(Config{}), web)
		if s, _ := v.last(t); ids(s) != "a " || s.Err != nil || s.Doubt != nil {
			t.Fatalf("first snapshot %+v", s)
		}
		r.set(11, up("a", "10.0.0.1"), up("b", "10.0.0.2"))
		if s, n := v.last(t); ids(s) != "a b " || n != 2 {
			t.Fatalf("after a change: %d snapshots, last %+v", n, s)
		}
		v.cancel()
		if err := <-v.ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("Watch returned %v", err)
		}
	})
}

// The first read comes from the agent's cache with its own short wait; the next block
// on the index, and neither near nor passing is ever sent unasked.
func TestWatchQueries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, newRegistry(10, up("a", "10.0.0.1")).ServeHTTP)
		q := discovery.Query{Service: "web/", Tags: []string{"V2", "eu", "v2"}, Filter: "x == y", Namespace: "default"}
		see(f.source(Config{Datacenter: "dc9", Token: "t0ken"}), q)
		synctest.Wait()
		asked := f.requests()
		if len(asked) != 2 {
			t.Fatalf("%d queries, want 2", len(asked))
		}
		for i, want := range []string{
			"cached=&dc=dc9&filter=x+%3D%3D+y&tag=eu&tag=v2&wait=5000ms",
			"dc=dc9&filter=x+%3D%3D+y&index=10&tag=eu&tag=v2&wait=60000ms",
		} {
			if got := asked[i].params.Encode(); got != want {
				t.Errorf("query %d: %s\nwant %s", i, got, want)
			}
			if asked[i].path != "/v1/health/service/web" || asked[i].token != "t0ken" {
				t.Errorf("query %d: %+v", i, asked[i])
			}
		}
	})
}

func TestWatchNearIsNotCached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, newRegistry(10, up("a", "10.0.0.1")).ServeHTTP)
		see(f.source(Config{}), discovery.Query{Service: "web", Near: "_agent"})
		synctest.Wait()
		if p := f.requests()[0].params; p.Has("cached") || p.Get("near") != "_agent" {
			t.Fatalf("first query %v", p)
		}
	})
}

// An agent that hangs must not freeze the watch: each query has a deadline of its own.
func TestWatchSurvivesHangingAgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		v := see(f.source(Config{}), web)
		v.last(t)
		hang := func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }
		f.handle(hang)
		r.set(11, up("a", "10.0.0.1")) // ends the query in flight
		start := time.Now()
		time.Sleep(60*time.Second + 60*time.Second/16 + 10*time.Second + time.Millisecond)
		s, _ := v.last(t)
		if s.Err == nil || !errors.Is(s.Err, context.DeadlineExceeded) || !strings.Contains(s.Err.Error(), "consul.test:8500 gives no answer") {
			t.Fatalf("after %v: %+v", time.Since(start), s)
		}
		f.handle(r.ServeHTTP)
		time.Sleep(time.Minute)
		if s, _ = v.last(t); s.Err != nil || ids(s) != "a " {
			t.Fatalf("after it recovered: %+v", s)
		}
	})
}

// An error is told at once, the index is forgotten, and the retries back off.
func TestWatchErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		v := see(f.source(Config{}), web)
		v.last(t)
		f.requests()
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "No cluster leader", 500) })
		r.set(11, up("a", "10.0.0.1"))
		time.Sleep(5 * time.Minute)
		if s, n := v.last(t); s.Err == nil || n != 2 || !strings.Contains(s.Err.Error(), "No cluster leader") {
			t.Fatalf("%d snapshots, last %+v: want one error, told once", n, s)
		}
		asked := f.requests()
		if len(asked) < 10 || len(asked) > 60 {
			t.Errorf("%d queries in 5 minutes of errors: want a back-off up to 30 s", len(asked))
		}
		for _, q := range asked[1:] {
			if q.params.Has("index") {
				t.Fatalf("a query after an error waits on an index: %v", q.params)
			}
		}
	})
}

// A query that no waiting mends is not repeated within 5 s.
func TestWatchPermanentErrorsSlowDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "ACL not found", 403) })
		see(f.source(Config{}), web)
		time.Sleep(5*time.Second - time.Millisecond)
		synctest.Wait()
		if n := len(f.requests()); n != 1 {
			t.Fatalf("%d queries in 5 s, want 1", n)
		}
	})
}

// A restarted agent's index is lower. Waiting on the old one would be blind for a
// whole wait.
func TestWatchIndexGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(158, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		v := see(f.source(Config{}), web)
		v.last(t)
		f.requests()
		r.set(7, up("b", "10.0.0.2"))
		time.Sleep(100 * time.Millisecond) // the burst is used up
		synctest.Wait()
		asked := f.requests()
		if len(asked) != 2 || asked[0].params.Has("index") || asked[1].params.Get("index") != "7" {
			t.Fatalf("queries after the index went back: %+v", asked)
		}
		if s, _ := v.last(t); ids(s) != "b " {
			t.Fatalf("last %+v", s)
		}
	})
}

// A proxy that strips X-Consul-Index must not make a hot loop.
func TestWatchWithoutIndex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		r.headers["X-Consul-Index"] = "none"
		f := newFakeAgent(t, r.ServeHTTP)
		v := see(f.source(Config{}), web)
		time.Sleep(time.Minute)
		if _, n := v.last(t); n != 1 {
			t.Errorf("%d snapshots, want 1", n)
		}
		if n := len(f.requests()); n < 20 || n > 35 {
			t.Errorf("%d queries in a minute, want one each 2 s", n)
		}
	})
}

// So must not an agent that returns at once with nothing new.
func TestWatchEarlyReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Consul-Index", "10")
			writeEntries(w, []entry{up("a", "10.0.0.1")})
		})
		see(f.source(Config{}), web)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(f.requests()); n > 65 {
			t.Errorf("%d queries in a minute, want about one per second", n)
		}
	})
}

// A storm of changes costs one query each 20 ms, after a burst that lets a single
// change through at once; wake-ups without a visible change tell users nothing.
func TestWatchRateAndDedupe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		index := 10
		f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) {
			index++
			w.Header().Set("X-Consul-Index", fmt.Sprint(index))
			a, b := up("a", "10.0.0.1"), up("b", "10.0.0.2")
			a.Service.ModifyIndex = uint64(index)
			if index%2 == 0 {
				a, b = b, a // the order means nothing
			}
			writeEntries(w, []entry{a, b})
		})
		v := see(f.source(Config{}), web)
		synctest.Wait()
		if n := len(f.requests()); n != burst {
			t.Errorf("%d queries at once, want %d", n, burst)
		}
		time.Sleep(time.Second - time.Millisecond)
		if _, n := v.last(t); n != 1 {
			t.Errorf("%d snapshots of one set", n)
		}
		if n := len(f.requests()); n < 40 || n > 50 {
			t.Errorf("%d queries in a second, want one each 20 ms", n)
		}
	})
}

func TestWatchHealths(t *testing.T) {
	bubble(t, func(t *testing.T) {
		passing, warning, critical, maint := up("p", "10.0.0.1"), up("w", "10.0.0.2"), up("c", "10.0.0.3"), up("m", "10.0.0.4")
		warning.Checks = append(warning.Checks, check{"x", "warning"})
		critical.Checks = append(critical.Checks, check{"x", "critical"})
		maint.Checks = append(maint.Checks, check{"_service_maintenance:m", "critical"})
		s := newFakeAgent(t, newRegistry(10, passing, warning, critical, maint).ServeHTTP).source(Config{})
		for accept, want := range map[discovery.Accept]string{
			discovery.AcceptUsable: "p w ", discovery.AcceptPassing: "p ", discovery.AcceptPrefer: "p w ", discovery.AcceptAny: "c p w ",
		} {
			if got, _ := see(s, discovery.Query{Service: "web", Accept: accept}).last(t); ids(got) != want {
				t.Errorf("accept %d: %q, want %q", accept, ids(got), want)
			}
		}
	})
}

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
