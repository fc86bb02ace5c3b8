package consul

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

// leads makes r's leader answer with a set and an index of its own.
func leads(r *registry, index uint64, list ...entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leader = func(w http.ResponseWriter) bool {
		ledHeaders(w, index)
		writeEntries(w, list)
		return true
	}
}

// ledHeaders are those of a read that a leader answers.
func ledHeaders(w http.ResponseWriter, index uint64) {
	w.Header().Set("X-Consul-Query-Backend", "blocking-query")
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
}

// leaderReads counts the requests that go past the agent's view.
func leaderReads(asked []request) int {
	n := 0
	for _, r := range asked {
		if !r.params.Has("index") && !r.params.Has("cached") {
			n++
		}
	}
	return n
}

// An agent whose stream went silent shows in none of its answers. The audit finds it, the
// leader is used in its place, and that ends when the two agree.
func TestAuditFindsSilentStaleness(t *testing.T) {
	for name, said := range map[string][]entry{
		"one came":   {up("a", "10.0.0.1"), up("b", "10.0.0.2")},
		"one left":   nil,
		"one moved":  {up("a", "10.0.0.9")},
		"one is new": {up("c", "10.0.0.3")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegistry(10, up("a", "10.0.0.1"))
				f := newFakeAgent(t, r.ServeHTTP)
				v := see(f.source(Config{}), web)
				v.last(t)
				leads(r, 20, said...)
				f.requests()
				time.Sleep(auditEvery - time.Second)
				if s, n := v.last(t); n != 1 || leaderReads(f.requests()) != 0 {
					t.Fatalf("before the first audit: %d snapshots, last %+v", n, s)
				}
				time.Sleep(auditEvery + 10*time.Second)
				want := ids(snapshot(decode(entries{list: said}, web), 0, nil))
				s, _ := v.last(t)
				if ids(s) != want || len(said) > 0 && s.Instances[0].Address != said[0].Service.Address+":8080" || s.Err != nil || s.Doubt != nil {
					t.Fatalf("after an audit: %+v", s)
				}
				if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].String(), "web: the agent's view is stale") {
					t.Errorf("problems %v", s.Problems)
				}
				f.requests()
				time.Sleep(10 * time.Minute)
				if n := leaderReads(f.requests()); n < 10 || n > 25 {
					t.Errorf("%d reads of the leader in ten minutes of a stale view", n)
				}
				r.set(20, said...)
				s, _ = v.last(t)
				if ids(s) != want || len(s.Problems) != 0 || s.Doubt != nil {
					t.Errorf("after the view came back: %+v", s)
				}
				f.requests()
				time.Sleep(10 * time.Minute)
				if n := leaderReads(f.requests()); n > 2 {
					t.Errorf("%d reads of the leader in ten minutes of a good view", n)
				}
			})
		})
	}
}

// A view that lags is not stale: what differs at the first look has come by the second.
func TestAuditAllowsForLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(10, up("a", "10.0.0.1"))
		f := newFakeAgent(t, r.ServeHTTP)
		v := see(f.source(Config{}), web)
		v.last(t)
		var looks atomic.Int32
		r.mu.Lock()
		r.leader = func(w http.ResponseWriter) bool {
			n := uint64(10 + looks.Add(1))
			ledHeaders(w, n)
			b := up("b", "10.0.0.2")
			b.Service.CreateIndex = n // another one at each look
			writeEntries(w, []entry{up("a", "10.0.0.1"), b})
			return true
		}
		r.mu.Unlock()
		time.Sleep(time.Hour)
		if s, n := v.last(t); n != 1 || ids(s) != "a " {
			t.Errorf("%d snapshots, last %+v", n, s)
		}
		if n := looks.Load(); n < 10 || n > 25 {
			t.Errorf("%d looks in an hour: want two each 5 to 10 minutes", n)
		}
	})
}

// What befalls the audit does not befall the watch.
func TestAuditTroubleIsNotTheWatchs(t *testing.T) {
	for name, trouble := range map[string]func(w http.ResponseWriter) bool{
		"error": func(w http.ResponseWriter) bool { http.Error(w, "No cluster leader", 500); return true },
		"ACLs": func(w http.ResponseWriter) bool {
			ledHeaders(w, 20)
			w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
			writeEntries(w, nil)
			return true
		},
		"no leader": func(w http.ResponseWriter) bool {
			w.Header().Set("X-Consul-Index", "20")
			writeEntries(w, nil)
			return true
		},
		"hangs": func(http.ResponseWriter) bool { time.Sleep(time.Minute); return true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegistry(10, up("a", "10.0.0.1"))
				r.leader = trouble
				f := newFakeAgent(t, r.ServeHTTP)
				v := see(f.source(Config{}), web)
				v.last(t)
				for i := range uint64(60) {
					time.Sleep(10 * time.Second)
					synctest.Wait()
					r.set(11+i, up("a", "10.0.0.1"), up(strconv.FormatUint(i, 10), "10.0.0.2"))
					time.Sleep(100 * time.Millisecond)
					if s, _ := v.last(t); s.Err != nil || s.Doubt != nil || len(s.Instances) != 2 || s.Instances[0].ID != strconv.FormatUint(i, 10) {
						t.Fatalf("change %d: %+v", i, s)
					}
				}
				if leaderReads(f.requests()) == 0 {
					t.Error("no audit was made")
				}
				v.cancel()
				time.Sleep(time.Minute) // the handler that hangs ends
			})
		})
	}
}

// Random histories of a view that hangs now and then: what users see is never older than
// an audit allows, and the view is believed again in the end.
func TestAuditModel(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			index := uint64(10)
			truth := []entry{up("a", "10.0.0.1")}
			r := newRegistry(index, truth...)
			v := see(newFakeAgent(t, r.ServeHTTP).source(Config{}), web)
			v.last(t)
			for range 10 {
				stuck := random.IntN(2) == 0
				for range 1 + random.IntN(5) {
					index++
					truth = nil
					for _, id := range []string{"a", "b", "c"}[:1+random.IntN(3)] {
						e := up(id, "10.0.0."+strconv.Itoa(random.IntN(3)))
						truth = append(truth, e)
					}
					leads(r, index, truth...)
					if !stuck {
						r.set(index, truth...)
					}
					time.Sleep(time.Duration(random.IntN(100)) * time.Second)
				}
				wait := time.Second
				if stuck {
					wait = 2*auditEvery + doubtMax + 10*time.Second
				}
				time.Sleep(wait)
				want, _ := json.Marshal(snapshot(decode(entries{list: truth}, web), 0, nil).Instances)
				s, _ := v.last(t)
				if got, _ := json.Marshal(s.Instances); s.Err != nil || s.Doubt != nil || string(got) != string(want) {
					t.Fatalf("seed %d, stuck %v: %+v\nwant %s", seed, stuck, s, want)
				}
			}
		})
	}
}

func TestDifferences(t *testing.T) {
	set := func(words ...string) (s []discovery.Instance) {
		for _, w := range words {
			s = append(s, discovery.Instance{ID: w[:1], Address: w})
		}
		return s
	}
	for _, tt := range []struct {
		view1, leader1, view2, leader2 string
		want                           bool
	}{
		{"a b", "a b", "a b", "a b", false},
		{"a", "a b", "a b", "a b", false},     // it came
		{"a", "a b", "a", "a b", true},        // it did not
		{"a b", "a", "a", "a", false},         // it went
		{"a b", "a", "a b", "a", true},        // it did not
		{"a1", "a2", "a1", "a3", false},       // it moves on, and may be on its way
		{"a1", "a2", "a1", "a2", true},        // it stands
		{"a1 b", "a2 b", "a2 b", "a2", false}, // each look has another difference
		{"", "a", "", "a", true},
		{"a", "", "a", "", true},
	} {
		before := differences(set(strings.Fields(tt.view1)...), set(strings.Fields(tt.leader1)...))
		after := differences(set(strings.Fields(tt.view2)...), set(strings.Fields(tt.leader2)...))
		if got := persists(before, after); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
