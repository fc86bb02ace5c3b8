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
