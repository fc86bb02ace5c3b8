package consul

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

var near = discovery.Query{Service: "web", Prepared: "nearest web"}

// executor is an agent with one prepared query.
type executor struct {
	mu   sync.Mutex
	body map[string]any
}

func (x *executor) set(failovers int, datacenter string, list ...entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if list == nil {
		list = []entry{}
	}
	x.body = map[string]any{"Service": "web", "Nodes": list, "Datacenter": datacenter, "Failovers": failovers}
}

func (x *executor) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ledHeaders(w, 1)
	_ = json.NewEncoder(w).Encode(x.body)
}

func TestPreparedQueryIsPolled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := &executor{}
		x.set(0, "eu", up("a", "10.0.0.1"))
		f := newFakeAgent(t, x.ServeHTTP)
		q := near
		q.Datacenter, q.Near = "eu", "_agent"
		s := f.source(Config{Partition: "p"})
		v := see(s, q)
		if s, n := v.last(t); ids(s) != "a " || n != 1 || len(s.Problems) != 0 {
			t.Fatalf("%d snapshots, last %+v", n, s)
		}
		time.Sleep(110 * time.Second)
		if s, n := v.last(t); n != 1 {
			t.Errorf("%d snapshots of one set, last %+v", n, s)
		}
		asked := f.requests()
		if len(asked) < 10 || len(asked) > 13 {
			t.Errorf("%d executions in 110 s, want one each 10 s", len(asked))
		}
		pauses := map[time.Duration]bool{}
		for i, r := range asked {
			if r.path != "/v1/query/nearest web/execute" || r.params.Get("dc") != "eu" || r.params.Get("near") != "_agent" || r.params.Has("index") || r.params.Has("cached") {
				t.Fatalf("asked %+v", r)
			}
			if i > 0 {
				pause := r.at.Sub(asked[i-1].at)
				pauses[pause] = true
				if pause < 9*time.Second || pause > 11*time.Second {
					t.Errorf("execution %d after %v", i, pause)
				}
			}
		}
		if len(pauses) < 5 {
			t.Errorf("pauses without jitter: %v", pauses)
		}
		x.set(0, "eu", up("b", "10.0.0.2"))
		time.Sleep(11 * time.Second)
		if s, n := v.last(t); ids(s) != "b " || n != 2 {
			t.Errorf("after a change: %d snapshots, last %+v", n, s)
		}
		if at, ok := s.Answered(q); !ok || time.Since(at) > 11*time.Second {
			t.Errorf("answered %v ago, %v", time.Since(at), ok)
		}
	})
}

// The whole set comes from the datacenter that answered, and a problem says which.
func TestPreparedQueryFailsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := &executor{}
		x.set(0, "eu", up("a", "10.0.0.1"))
		v := see(newFakeAgent(t, x.ServeHTTP).source(Config{Refresh: time.Second}), near)
		v.last(t)
		x.set(1, "us", up("u", "10.1.0.1"))
		time.Sleep(1100 * time.Millisecond)
		s, _ := v.last(t)
		if ids(s) != "u " || s.Doubt != nil || len(s.Problems) != 1 || s.Problems[0].String() !=
			`prepared query "nearest web": finds none where it looks first: those of datacenter "us" are used` {
			t.Errorf("%+v", s)
		}
		x.set(0, "eu", up("a", "10.0.0.1"))
		time.Sleep(1100 * time.Millisecond)
		if s, _ := v.last(t); ids(s) != "a " || len(s.Problems) != 0 {
			t.Errorf("after its return: %+v", s)
		}
	})
}

func TestPreparedQueryErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
		slow   bool
	}{
		"unknown":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Query not found", 404) }, `watch "web": there is no prepared query "nearest web": Unexpected response code: 404 (Query not found)`, true},
		"no list":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Service": "web"}`) }, "no list of instances", false},
		"null":      {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Nodes": null}`) }, "want a list", false},
		"no JSON":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) }, "invalid character", false},
		"no quorum": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "No cluster leader", 500) }, `prepared query "nearest web": Unexpected response code: 500`, false},
		"hangs":     {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "gives no answer", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				x := &executor{}
				x.set(0, "eu", up("a", "10.0.0.1"))
				f := newFakeAgent(t, x.ServeHTTP)
				v := see(f.source(Config{}), near)
				v.last(t)
				f.handle(tt.answer)
				f.requests()
				time.Sleep(time.Minute)
				s, n := v.last(t)
				if n != 2 || !strings.Contains(text(s.Err), tt.want) {
					t.Errorf("%d snapshots, last %+v", n, s)
				}
				if asked := len(f.requests()); tt.slow && asked > 12 || asked < 2 {
					t.Errorf("asked %d times in a minute", asked)
				}
				f.handle(x.ServeHTTP)
				time.Sleep(31 * time.Second)
				if s, _ := v.last(t); s.Err != nil || ids(s) != "a " {
					t.Errorf("after it recovered: %+v", s)
				}
			})
		})
	}
}

// TestPolledAnswers is the table of what an answer of a prepared query is taken for.
func TestPolledAnswers(t *testing.T) {
	garbage := lead(1)
	garbage.entries = 2
	for _, tt := range []struct {
		name  string
		held  string
		got   answer
		after time.Duration // since the answers began to be like that
		want  string
		doubt string
	}{
		{"some", "a", lead(1, "b"), 0, "b", ""},
		{"none from the start", "", lead(1), 0, "", ""},
		{"none from the start, and no leader", "", leaderless(lead(1)), 0, "", "no leader"},
		{"none any more", "a", lead(1), 0, "a", "finds none any more: to be believed after 1m0s"},
		{"none for a while", "a", lead(1), emptyHold - 1, "a", "finds none any more"},
		{"none for long", "a", lead(1), emptyHold, "", ""},
		{"no leader for long", "a", leaderless(lead(1)), time.Hour, "a", "no leader"},
		{"ACLs hide all", "a", hide(lead(1)), time.Hour, "a", "node:read"},
		{"ACLs hide some", "a", hide(lead(1, "b")), 0, "b", "node:read"},
		{"only garbage", "a", garbage, time.Hour, "a", "none of its 2 registrations"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &progress{refresh: time.Second}
			if tt.held != "" {
				p.believe(lead(1, tt.held))
			}
			confirm := func() (answer, error) { t.Error("asked the leader"); return answer{}, errors.New("no") }
			set, doubt := p.judge(tt.got, noon, confirm)
			if tt.after > 0 {
				set, doubt = p.judge(tt.got, noon.Add(tt.after), confirm)
			}
			var got []string
			for _, i := range set.instances {
				got = append(got, i.ID)
			}
			if strings.Join(got, " ") != tt.want || (doubt != nil) != (tt.doubt != "") || !strings.Contains(text(doubt), tt.doubt) {
				t.Errorf("instances %v, doubt %v", got, doubt)
			}
		})
	}
	p := &progress{refresh: time.Second}
	p.believe(lead(1, "a"))
	_, _ = p.judge(lead(1), noon, nil)
	_, _ = p.judge(lead(1, "a"), noon.Add(emptyHold), nil)
	if _, doubt := p.judge(lead(1), noon.Add(emptyHold+1), nil); doubt == nil {
		t.Error("the time before it came back counts")
	}
}

func TestPreparedQueryRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newFakeAgent(t, (&executor{}).ServeHTTP).source(Config{})
		for want, change := range map[string]func(*discovery.Query){
			`Tags ["v2"] with the prepared query`: func(q *discovery.Query) { q.Tags = []string{"v2"} },
			`Filter "f" with`:                     func(q *discovery.Query) { q.Filter = "f" },
			`Failover ["us"] with`:                func(q *discovery.Query) { q.Failover = []string{"us"} },
			`Namespace "n" with`:                  func(q *discovery.Query) { q.Namespace = "n" },
			`Partition "p" with`:                  func(q *discovery.Query) { q.Partition = "p" },
			`Peer "p" with`:                       func(q *discovery.Query) { q.Peer = "p" },
			`Service is empty`:                    func(q *discovery.Query) { q.Service = "" },
			`Prepared "../kv"`:                    func(q *discovery.Query) { q.Prepared = "../kv" },
		} {
			q := near
			change(&q)
			if err := s.Watch(t.Context(), q, nil); !strings.Contains(text(err), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		}
	})
}

func TestPreparedQueryIsExplained(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := &executor{}
		critical := up("a", "10.0.0.1")
		critical.Checks = []check{{"t", "critical"}}
		f := newFakeAgent(t, nil)
		s := f.source(Config{})
		explain := func(h http.HandlerFunc) string {
			f.handle(h)
			got := s.Explain(t.Context(), near)
			synctest.Wait()
			return got
		}
		health := newRegistry(10, critical)
		x.set(0, "eu")
		got := explain(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/query/nearest web/execute":
				x.ServeHTTP(w, r)
			case "/v1/health/service/web":
				if r.URL.Query().Get("dc") != "eu" {
					t.Errorf("asked %v", r.URL)
				}
				health.ServeHTTP(w, r)
			}
		})
		if got != `the prepared query "nearest web" finds none of "web": Consul has 1, critical: no reason given` {
			t.Error(got)
		}
		x.set(0, "eu", up("a", "10.0.0.1"))
		if got := explain(x.ServeHTTP); got != "Consul has 1, passing" {
			t.Error(got)
		}
		got = explain(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Query not found", 404) })
		if got != `Consul has no prepared query "nearest web"` {
			t.Error(got)
		}
	})
}
