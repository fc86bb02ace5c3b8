package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Options say what the endpoint allows. The zero value is the default.
type Options struct {
	// GetOffline lets GET /offline drain, as POST does. Default false: what only reads
	// must change nothing.
	GetOffline bool

	// Hosts are the names, without port, under which the endpoint may be asked to change
	// something, beside IP addresses and localhost. Default none.
	Hosts []string
}

// Handler returns the endpoint of c.
func Handler(c Control, o Options) http.Handler {
	e := &endpoint{control: c, guard: newGuard(o.Hosts), getOffline: o.GetOffline}
	e.routes = []route{
		{"/healthz", read(e.healthz)},
		{"/readyz", read(e.readyz)},
		{"/inflight", read(e.inflight)},
		{"/offline", e.routeOffline()},
		{"/online", methods{http.MethodPost: e.changing(e.online)}},
	}
	return e
}

type endpoint struct {
	control    Control
	guard      guard
	getOffline bool
	routes     []route
}

// route is a path and what answers each method.
type route struct {
	path    string
	methods methods
}

type methods map[string]http.HandlerFunc

func read(f http.HandlerFunc) methods {
	return methods{http.MethodGet: f, http.MethodHead: f}
}

func (e *endpoint) routeOffline() methods {
	m := methods{http.MethodPost: e.changing(e.offline)}
	if e.getOffline {
		m[http.MethodGet] = m[http.MethodPost]
	}
	return m
}

// ServeHTTP implements [http.Handler].
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store") // an old answer is a wrong one
	w.Header().Set("X-Content-Type-Options", "nosniff")
	found := e.find(r.URL.Path)
	if found == nil {
		refuse(w, http.StatusNotFound, "no such path %q: want %s", r.URL.Path, e.paths())
		return
	}
	handle, ok := found.methods[r.Method]
	if !ok {
		e.refuseMethod(w, r, found)
		return
	}
	if r.ContentLength != 0 {
		// Nothing here reads a body. One that is announced and does not come would hold the
		// connection: there is no other bound on how long a request takes, since /offline
		// takes as long as the calls in flight.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusBadRequest, "%s: want a request without a body", found.path)
		return
	}
	handle(w, r)
}

func (e *endpoint) find(path string) *route {
	for i := range e.routes {
		if e.routes[i].path == path {
			return &e.routes[i]
		}
	}
	return nil
}

func (e *endpoint) paths() string {
	paths := make([]string, len(e.routes))
	for i, r := range e.routes {
		paths[i] = r.path
	}
	return strings.Join(paths, ", ")
}

func (e *endpoint) refuseMethod(w http.ResponseWriter, r *http.Request, found *route) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		if found.methods[m] != nil {
			allowed = append(allowed, m)
		}
	}
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	hint := ""
	if found.path == "/offline" && r.Method == http.MethodGet {
		hint = " (the option Admin.GetOffline of lifecycle.Config allows GET)"
	}
	refuse(w, http.StatusMethodNotAllowed, "%s %s: want %s%s", r.Method, found.path, allow, hint)
}

// changing wraps what changes something: see the package's documentation.
func (e *endpoint) changing(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := e.guard.check(r); err != nil {
			refuse(w, http.StatusForbidden, "%s: %v", r.URL.Path, err)
			return
		}
		f(w, r)
	}
}

func (e *endpoint) healthz(w http.ResponseWriter, _ *http.Request) {
	state(w, "live", e.control.Live())
}

func (e *endpoint) readyz(w http.ResponseWriter, _ *http.Request) {
	state(w, "ready", e.control.Ready())
}

func state(w http.ResponseWriter, name string, err error) {
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "not %s: %v", name, err)
		return
	}
	text(w, http.StatusOK, name)
}

func (e *endpoint) inflight(w http.ResponseWriter, _ *http.Request) {
	answer(w, e.control.InFlight())
}

func (e *endpoint) offline(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if err := e.control.Offline(r.Context()); err != nil {
		refuse(w, http.StatusConflict, "offline: %v", err)
		return
	}
	answer(w, Left{State: "offline", Took: time.Since(start).Seconds()})
}

func (e *endpoint) online(w http.ResponseWriter, r *http.Request) {
	if err := e.control.Online(r.Context()); err != nil {
		refuse(w, http.StatusConflict, "online: %v", err)
		return
	}
	text(w, http.StatusOK, "online")
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked has left
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	// What is reported may come from elsewhere: an answer stays one line.
	line := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	text(w, status, line)
}

func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, line+"\n") // whoever asked has left
}
