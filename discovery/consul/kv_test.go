package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/internal/consultest"
)

// keyStore is a fake KV store with one key, that blocks as Consul does.
type keyStore struct {
	mu      sync.Mutex
	index   uint64
	value   []byte // nil: there is no such key
	broken  int    // the status of each answer; 0: it works
	changed chan struct{}
	noIndex bool // a proxy strips the header
}

func newKeyStore(index uint64, value string) *keyStore {
	return &keyStore{index: index, value: []byte(value), changed: make(chan struct{})}
}

func (k *keyStore) set(index uint64, value []byte, broken int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.index, k.value, k.broken = index, value, broken
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *keyStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var index uint64
	fmt.Sscan(r.URL.Query().Get("index"), &index)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	for index > 0 && index >= k.index && k.broken == 0 {
		changed := k.changed
		k.mu.Unlock()
		done := false
		select {
		case <-changed:
		case <-over.C:
			done = true
		case <-r.Context().Done():
			done = true
		}
		k.mu.Lock()
		if done {
			break
		}
	}
	if !k.noIndex {
		w.Header().Set("X-Consul-Index", fmt.Sprint(k.index))
	}
	switch {
	case k.broken != 0:
		http.Error(w, "rpc error: Permission denied: token lacks permission 'key:read' on \"surecall/web\"", k.broken)
	case k.value == nil:
		w.WriteHeader(http.StatusNotFound)
	default:
		_ = json.NewEncoder(w).Encode([]map[string]any{{"Key": "surecall/web", "Value": k.value, "ModifyIndex": k.index}})
	}
}

// keyView records what a watch of a key reports: the value, "(none)" or the error.
type keyView struct {
	mu     sync.Mutex
	seen   []string
	cancel context.CancelFunc
	ended  chan error
}

func seeKey(s *Source, k Key) *keyView {
	ctx, cancel := context.WithCancel(context.Background())
	v := &keyView{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		v.ended <- s.WatchKey(ctx, k, func(value []byte, err error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			switch {
			case err != nil:
				v.seen = append(v.seen, err.Error())
			case value == nil:
				v.seen = append(v.seen, "(none)")
			default:
				v.seen = append(v.seen, string(value))
			}
		})
	}()
	return v
}

// take returns what was seen since it was asked last, after everything settled.
func (v *keyView) take() []string {
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := v.seen
	v.seen = nil
	return seen
}

var webKey = Key{Path: "surecall/web"}

func TestWatchKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKeyStore(10, "one")
		f := newFakeAgent(t, k.ServeHTTP)
		v := seeKey(f.source(Config{Token: "t0ken", Datacenter: "eu"}), webKey)
		defer v.cancel()
		want := func(what string, want ...string) {
			t.Helper()
			if got := v.take(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: seen %q: want %q", what, got, want)
			}
		}
		want("at first", "one")
		asked := f.requests()
		if len(asked) != 2 || asked[0].params.Encode() != "dc=eu" || asked[1].params.Encode() != "dc=eu&index=10&wait=60000ms" || asked[0].path != "/v1/kv/surecall/web" || asked[1].token != "t0ken" {
			t.Errorf("asked %+v", asked)
		}
		k.set(11, []byte("two"), 0)
		want("changed", "two")
		k.set(12, []byte("two"), 0)
		want("written anew")
		k.set(13, nil, 0)
		time.Sleep(time.Second)
		want("deleted", "(none)")
		k.set(14, []byte{}, 0)
		time.Sleep(time.Second)
		want("empty", "")
		k.set(15, []byte("three"), http.StatusForbidden)
		time.Sleep(time.Minute)
		if got := v.take(); len(got) != 1 || !strings.Contains(got[0], "key:read") || !strings.Contains(got[0], `discovery/consul: key "surecall/web"`) {
			t.Errorf("forbidden: seen %q", got)
		}
		k.set(16, []byte("three"), 0)
		time.Sleep(time.Minute)
		want("allowed again", "three")
		f.requests()
		k.set(4, []byte("four"), 0) // the registry lost its data
		time.Sleep(2*time.Minute + 17*time.Second)
		want("index back", "four")
		f.cut() // in the middle of a wait, which takes a minute
		time.Sleep(31 * time.Second)
		// On a connection that was used before, net/http asks again by itself.
		if got := v.take(); len(got) != 0 && (len(got) != 2 || got[1] != "four") {
			t.Errorf("connection cut: seen %q: want nothing, or an error and the value again", got)
		}
		if n := len(f.requests()); n == 0 {
			t.Error("connection cut: it was not asked again")
		}
		k.set(5, []byte("five"), 0)
		time.Sleep(time.Second)
		want("changed after the cut", "five")
		v.cancel()
		if err := <-v.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// Nothing that an agent or a proxy does makes a hot loop.
func TestWatchKeyIsNoHotLoop(t *testing.T) {
	for name, broke := range map[string]struct {
		store *keyStore
		serve func(k *keyStore) http.HandlerFunc
		most  int // requests in a minute
	}{
		"no index": {&keyStore{index: 1, value: []byte("x"), changed: make(chan struct{}), noIndex: true}, nil, 31},
		"answers at once": {newKeyStore(10, "x"), func(k *keyStore) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { r.URL.RawQuery = ""; k.ServeHTTP(w, r) }
		}, 122},
		"each answer is newer": {newKeyStore(10, "x"), func(k *keyStore) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { r.URL.RawQuery = ""; k.index++; k.ServeHTTP(w, r) }
		}, 610},
		"always an error": {&keyStore{broken: 500, changed: make(chan struct{})}, nil, 60},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				serve := broke.store.ServeHTTP
				if broke.serve != nil {
					serve = broke.serve(broke.store)
				}
				f := newFakeAgent(t, serve)
				v := seeKey(f.source(Config{}), webKey)
				defer v.cancel()
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := len(f.requests()); n > broke.most || n < 3 {
					t.Errorf("%d requests in a minute: want at most %d", n, broke.most)
				}
				if seen := v.take(); len(seen) != 1 {
					t.Errorf("seen %q: want one thing", seen)
				}
			})
		})
	}
}

// An agent that hangs is given up, and the source's end ends the watch.
func TestWatchKeyEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		s := f.source(Config{})
		v := seeKey(s, webKey)
		time.Sleep(readTimeout)
		if got := v.take(); len(got) != 1 || !strings.Contains(got[0], "gives no answer") {
			t.Errorf("seen %q", got)
		}
		s.Close()
		if err := <-v.ended; !errors.Is(err, errClosed) {
			t.Errorf("ended with %v", err)
		}
		if err := s.WatchKey(t.Context(), webKey, nil); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestBadKeys(t *testing.T) {
	for _, path := range []string{"", "/a", "a/", "a//b", "..", "a/./b", "a/../b"} {
		if err := (Key{Path: path}).Validate(); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WatchKey(t.Context(), Key{}, nil); err == nil || !strings.Contains(err.Error(), `key "": want a path`) {
		t.Error(err)
	}
}

// A real agent tells of each change within a second, of a key that is not there yet, and of a
// token that may not read.
func TestWatchKeyOnConsul(t *testing.T) {
	agent := consultest.StartWith(t, consultest.ACLs())
	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	reader, err := agent.NewToken("reader", `key_prefix "surecall/" { policy = "read" }`)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := agent.NewToken("stranger", `node_prefix "" { policy = "read" }`)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 10)
	follow := func(token string) {
		s := realSource(t, agent, Config{Token: token})
		ctx, cancel := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() {
			_ = s.WatchKey(ctx, webKey, func(value []byte, err error) { told <- fmt.Sprintf("%q %v %v", value, value == nil, err) })
		})
		t.Cleanup(func() { cancel(); done.Wait() })
	}
	next := func(within time.Duration, want string) {
		t.Helper()
		select {
		case got := <-told:
			if !strings.Contains(got, want) {
				t.Errorf("told %s: want %s", got, want)
			}
		case <-time.After(within):
			t.Errorf("nothing told within %v: want %s", within, want)
		}
	}
	follow(reader.Secret)
	next(5*time.Second, `"" true <nil>`)
	put := func(key, value string) {
		t.Helper()
		if _, err := client.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put(webKey.Path, "one")
	next(time.Second, `"one" false <nil>`)
	for n := range 20 {
		put("surecall/other", fmt.Sprint(n)) // is no news
	}
	put(webKey.Path, "two")
	next(time.Second, `"two" false <nil>`)
	if _, err := client.KV().Delete(webKey.Path, nil); err != nil {
		t.Fatal(err)
	}
	next(time.Second, `"" true <nil>`)
	put(webKey.Path, "")
	next(time.Second, `"" false <nil>`)
	follow(stranger.Secret)
	next(5*time.Second, "403")
}
