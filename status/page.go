package status

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// PageOption changes what [Handler] does by default.
type PageOption interface{ apply(*page) }

type pageOption func(*page)

func (o pageOption) apply(p *page) { o(p) }

// WithHosts adds names under which the page may be asked for: "ops.example.com", without
// a port. Names of the loopback interface and IP addresses need not be named. Repeated, it
// adds.
func WithHosts(names ...string) PageOption {
	return pageOption(func(p *page) {
		for _, name := range names {
			p.hosts[hostname(name)] = true
		}
	})
}

// Handler serves the status page of the clients that read tells of, and what is beside it:
//
//	/             the page, complete without JavaScript
//	/events       what changes on it, as server-sent events
//	/status.json  everything, as JSON: {"clients": [Status, …]}
//	/metrics      the table of metrics as Prometheus' text; ?instances=1: those of each instance too
//
// It can be mounted anywhere, with http.StripPrefix or without: what counts is the last
// element of the path, or else ?format=json, metrics or events on the page's own address.
//
// read is called for each request, and while pages are open four times a second for all of
// them together: [Status] documents of one moment, in an order that stays. It must be safe for
// concurrent use.
//
// The page only shows, so it answers GET and HEAD alone. Whoever reaches it can read it:
// listen on loopback, or put your own authentication before it. A request under a name that is
// neither of the loopback interface nor of [WithHosts] is refused, so that no web page can
// read it through a name that resolves to this host, and so is one that another origin's
// page makes.
func Handler(read func() []Status, opts ...PageOption) http.Handler {
	t := template.Must(template.New("").ParseFS(assets, "assets/*.html")) // embedded, and tested
	p := &page{
		hosts: map[string]bool{}, read: read, templates: t,
		live: live{read: read, templates: t}, servers: servers{all: map[*http.Server]<-chan struct{}{}},
	}
	for _, o := range opts {
		o.apply(p)
	}
	return p
}

// page is the handler.
type page struct {
	hosts     map[string]bool // besides loopback's
	read      func() []Status
	templates *template.Template
	live      live
	servers   servers
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the status page only shows: use GET", http.StatusMethodNotAllowed)
		return
	}
	if why := p.refuse(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	switch format := formatOf(r); format {
	case "html":
		p.html(w, r)
	case "events":
		p.events(w, r)
	case "json":
		p.json(w)
	case "metrics":
		p.metrics(w, r)
	case "style":
		p.asset(w, "style.css", "text/css; charset=utf-8")
	case "script":
		p.asset(w, "script.js", "text/javascript; charset=utf-8")
	case "icon":
		p.asset(w, "icon.svg", "image/svg+xml")
	default:
		http.Error(w, fmt.Sprintf("no format %q: there are html, json, metrics and events", clean(format, 40)), http.StatusNotFound)
	}
}

// formatOf is what r asks for. The page itself asks by query only: that leads back to it
// wherever it is mounted.
func formatOf(r *http.Request) string {
	if format := r.URL.Query().Get("format"); format != "" {
		return format
	}
	switch last := path.Base(r.URL.Path); {
	case strings.HasSuffix(r.URL.Path, "/"):
		return "html"
	case last == "events", last == "metrics":
		return last
	case last == "status.json":
		return "json"
	case last != "." && strings.Contains(last, "."):
		return last // favicon.ico, robots.txt
	}
	return "html"
}

func (p *page) html(w http.ResponseWriter, r *http.Request) {
	query := clean(strings.TrimSpace(r.URL.Query().Get("q")), 200)
	v := newRenderer(p.templates).page(p.read(), time.Now(), query)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// What fails here is the connection.
	_ = p.templates.ExecuteTemplate(w, "page", v)
}

func (p *page) metrics(w http.ResponseWriter, r *http.Request) {
	perInstance := r.URL.Query().Get("instances")
	w.Header().Set("Content-Type", PrometheusContentType)
	_ = WritePrometheus(w, p.read(), perInstance == "1" || perInstance == "true")
}

func (p *page) asset(w http.ResponseWriter, name, kind string) {
	content, err := assets.ReadFile("assets/" + name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(content)
}
