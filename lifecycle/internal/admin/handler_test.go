package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server is a Control whose answers a test sets.
type server struct {
	live, ready, offline, online error
	changed                      atomic.Int32 // how often Offline and Online were called
	drain                        time.Duration
}

func (s *server) Live() error  { return s.live }
func (s *server) Ready() error { return s.ready }

func (s *server) Offline(ctx context.Context) error {
	s.changed.Add(1)
	if s.drain > 0 {
		done := time.NewTimer(s.drain)
		defer done.Stop()
		select {
		case <-done.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.offline
}

func (s *server) Online(context.Context) error {
	s.changed.Add(1)
	return s.online
}

func (s *server) InFlight() InFlight { return InFlight{Unary: 2, Streams: 1, Draining: true} }

func TestEveryRuleOfTheEndpoint(t *testing.T) {
	// down is a server with something wrong about everything.
	down := func() *server {
		return &server{
			live:    errors.New("no answer to the self-probe for 10s"),
			ready:   errors.New("warming up:\nstep \"cache\""),
			offline: errors.New("stopped"),
			online:  errors.New("too late: the connections are closed"),
		}
	}
	up := func() *server { return new(server) }
	tests := []struct {
		name    string
		server  func() *server
		options Options
		method  string
		path    string
		host    string
		header  map[string]string
		body    string
		status  int
		want    string // in the answer
		allow   string
		changes bool
	}{
		{name: "live", server: up, method: "GET", path: "/healthz", status: 200, want: "live\n"},
		{name: "live, HEAD", server: up, method: "HEAD", path: "/healthz", status: 200},
		{name: "not live", server: down, method: "GET", path: "/healthz", status: 503, want: "not live: no answer to the self-probe for 10s\n"},
		{name: "ready", server: up, method: "GET", path: "/readyz", status: 200, want: "ready\n"},
		{name: "ready, HEAD", server: up, method: "HEAD", path: "/readyz", status: 200},
		{name: "not ready, in one line", server: down, method: "GET", path: "/readyz", status: 503, want: "not ready: warming up: step \"cache\"\n"},
		{name: "not ready, HEAD", server: down, method: "HEAD", path: "/readyz", status: 503},
		{name: "in flight", server: up, method: "GET", path: "/inflight", status: 200, want: `{"unary":2,"streams":1,"draining":true}`},
		{name: "offline", server: up, method: "POST", path: "/offline", status: 200, want: `"state":"offline"`, changes: true},
		{name: "offline fails", server: down, method: "POST", path: "/offline", status: 409, want: "offline: stopped\n", changes: true},
		{name: "online", server: up, method: "POST", path: "/online", status: 200, want: "online\n", changes: true},
		{name: "online too late", server: down, method: "POST", path: "/online", status: 409, want: "online: too late", changes: true},

		{name: "GET offline", server: up, method: "GET", path: "/offline", status: 405, want: "GetOffline", allow: "POST"},
		{name: "HEAD offline", server: up, method: "HEAD", path: "/offline", status: 405, allow: "POST"},
		{name: "GET offline, opted in", server: up, options: Options{GetOffline: true}, method: "GET", path: "/offline", status: 200, want: `"offline"`, changes: true},
		{name: "HEAD offline, GET opted in", server: up, options: Options{GetOffline: true}, method: "HEAD", path: "/offline", status: 405, allow: "GET, POST"},
		{name: "GET online, GET offline opted in", server: up, options: Options{GetOffline: true}, method: "GET", path: "/online", status: 405, allow: "POST"},
		{name: "PUT online", server: up, method: "PUT", path: "/online", status: 405, want: "PUT /online: want POST\n", allow: "POST"},
		{name: "OPTIONS offline", server: up, method: "OPTIONS", path: "/offline", status: 405, allow: "POST"},
		{name: "POST healthz", server: up, method: "POST", path: "/healthz", status: 405, want: "POST /healthz: want GET, HEAD\n", allow: "GET, HEAD"},
		{name: "DELETE inflight", server: up, method: "DELETE", path: "/inflight", status: 405, allow: "GET, HEAD"},

		{name: "root", server: up, method: "GET", path: "/", status: 404, want: "/healthz, /readyz, /inflight, /offline, /online"},
		{name: "slash at the end", server: up, method: "POST", path: "/offline/", status: 404, want: `no such path "/offline/"`},
		{name: "other case", server: up, method: "POST", path: "/Offline", status: 404},
		{name: "path with a line break", server: up, method: "GET", path: "/%0AX", status: 404, want: `no such path "/\nX"`},

		{name: "body", server: up, method: "POST", path: "/offline", body: "{}", status: 400, want: "/offline: want a request without a body"},

		{name: "page of another site", server: up, method: "POST", path: "/offline", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, want: "cross-site"},
		{name: "page of the same site", server: up, method: "POST", path: "/online", header: map[string]string{"Sec-Fetch-Site": "same-site"}, status: 403},
		{name: "page of this origin", server: up, method: "POST", path: "/online", header: map[string]string{"Sec-Fetch-Site": "same-origin"}, status: 200, changes: true},
		{name: "typed by the user", server: up, options: Options{GetOffline: true}, method: "GET", path: "/offline", header: map[string]string{"Sec-Fetch-Site": "none"}, status: 200, changes: true},
		{name: "image of another site", server: up, options: Options{GetOffline: true}, method: "GET", path: "/offline", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403},
		{name: "old browser, other origin", server: up, method: "POST", path: "/offline", header: map[string]string{"Origin": "https://evil.example"}, status: 403, want: "https://evil.example"},
		{name: "old browser, opaque origin", server: up, method: "POST", path: "/offline", header: map[string]string{"Origin": "null"}, status: 403},
		{name: "old browser, this origin", server: up, method: "POST", path: "/offline", header: map[string]string{"Origin": "http://127.0.0.1:9901"}, status: 200, changes: true},
		{name: "other port of this host", server: up, method: "POST", path: "/offline", header: map[string]string{"Origin": "http://127.0.0.1:8080"}, status: 403},
		{name: "another site may look", server: up, method: "GET", path: "/readyz", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 200},

		{name: "rebound name", server: up, method: "POST", path: "/offline", host: "evil.example:9901", status: 403, want: `Host "evil.example:9901"`},
		{name: "rebound name, its own origin", server: up, method: "POST", path: "/offline", host: "evil.example:9901",
			header: map[string]string{"Origin": "http://evil.example:9901", "Sec-Fetch-Site": "same-origin"}, status: 403},
		{name: "name that begins like an address", server: up, method: "POST", path: "/offline", host: "127.0.0.1.evil.example", status: 403},
		{name: "localhost", server: up, method: "POST", path: "/offline", host: "localhost:9901", status: 200, changes: true},
		{name: "localhost, other spelling", server: up, method: "POST", path: "/offline", host: "LocalHost.:9901", status: 200, changes: true},
		{name: "IPv6", server: up, method: "POST", path: "/offline", host: "[::1]:9901", status: 200, changes: true},
		{name: "IPv6 without port", server: up, method: "POST", path: "/offline", host: "[::1]", status: 200, changes: true},
		{name: "address of the pod", server: up, options: Options{GetOffline: true}, method: "GET", path: "/offline", host: "10.4.0.17:9901", status: 200, changes: true},
		{name: "given name", server: up, options: Options{Hosts: []string{"Orders.internal"}}, method: "POST", path: "/offline", host: "orders.internal:9901", status: 200, changes: true},
		{name: "not the given name", server: up, options: Options{Hosts: []string{"orders.internal"}}, method: "POST", path: "/offline", host: "x.orders.internal", status: 403},
		{name: "no host", server: up, method: "POST", path: "/offline", host: "-", status: 200, changes: true},
		{name: "rebound name may look", server: up, method: "GET", path: "/healthz", host: "evil.example", status: 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.server()
			var body io.Reader
			if tt.body != "" {
				body = strings.NewReader(tt.body)
			}
			r := httptest.NewRequest(tt.method, tt.path, body)
			r.Host = "127.0.0.1:9901"
			if tt.host == "-" {
				r.Host = ""
			} else if tt.host != "" {
				r.Host = tt.host
			}
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			Handler(s, tt.options).ServeHTTP(w, r)

			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if got := w.Body.String(); !strings.Contains(got, tt.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("answer %q: want one line with %q", got, tt.want)
			}
			if got := w.Header().Get("Allow"); got != tt.allow {
				t.Errorf("Allow %q, want %q", got, tt.allow)
			}
			if got := s.changed.Load() == 1; got != tt.changes {
				t.Errorf("changed something: %v, want %v", got, tt.changes)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
		})
	}
}

func TestOfflineSaysHowLongItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		Handler(&server{drain: 1500 * time.Millisecond}, Options{}).ServeHTTP(w, httptest.NewRequest("POST", "http://127.0.0.1/offline", nil))
		var left Left
		if err := json.Unmarshal(w.Body.Bytes(), &left); err != nil || left != (Left{"offline", 1.5}) {
			t.Errorf("answered %+v, %v, want offline after 1.5 s", left, err)
		}
	})
}

func TestOfflineWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequest("POST", "http://127.0.0.1/offline", nil).WithContext(ctx)
		start := time.Now()
		Handler(&server{drain: time.Hour}, Options{}).ServeHTTP(httptest.NewRecorder(), r)
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}

func FuzzNothingChangesForAForeignHost(f *testing.F) {
	f.Add("evil.example", "")
	f.Add("127.0.0.1.", "http://127.0.0.1.")
	f.Add("[::1", "null")
	f.Add("localhost:localhost", "http://")
	f.Fuzz(func(t *testing.T, host, origin string) {
		s := new(server)
		r := &http.Request{Method: "POST", Host: host, Header: http.Header{"Origin": {origin}}, URL: httptest.NewRequest("POST", "/offline", nil).URL}
		Handler(s, Options{}).ServeHTTP(httptest.NewRecorder(), r)
		// A page has an origin, and no page's name is an address or localhost.
		named := strings.ContainsAny(host, "ghijkmnpqrstuvwxyz") && !strings.Contains(strings.ToLower(host), "localhost") && !strings.ContainsAny(host, ":[%")
		if s.changed.Load() > 0 && named {
			t.Errorf("Host %q, Origin %q sent the server offline", host, origin)
		}
	})
}
