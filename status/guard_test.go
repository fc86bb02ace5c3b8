package status_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/surecall/surecall/status"
)

func TestHost(t *testing.T) {
	h := status.Handler(func() []status.Status { return nil }, status.WithHosts("Ops.example.com", "b"), status.WithHosts("c."))
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "LOCALHOST:1": 200, "localhost.": 200, "orders.localhost:80": 200,
		"127.0.0.1": 200, "127.0.0.1:9": 200, "[::1]:80": 200, "[::1]": 200, "10.1.2.3:80": 200, "[fe80::1%25eth0]:80": 200,
		"ops.example.com": 200, "ops.EXAMPLE.com.:443": 200, "b:1": 200, "c": 200,
		"": 403, ":80": 403, "evil.example": 403, "evil.example:80": 403, "x.ops.example.com": 403, "localhost.evil.example": 403,
		"notlocalhost": 403, "127.0.0.1.nip.io": 403, "127.0.0.1.": 200, "0x7f.1": 403, "127.1": 403, "<script>": 403, "[::1": 200, "ops.example.com:80:80": 403,
	} {
		for _, url := range []string{"/", "/events", "/status.json", "/metrics", "/?format=script"} {
			if url == "/events" && want == http.StatusOK {
				continue // which has no end
			}
			r := httptest.NewRequest(http.MethodGet, url, nil)
			r.Host = host
			answer, body := ask(t, h, r)
			if answer.Code != want {
				t.Errorf("host %q, %s: %d: want %d", host, url, answer.Code, want)
			}
			if want == http.StatusForbidden && (!strings.Contains(body, "status.WithHosts") || strings.Contains(body, "<script") && !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/plain")) {
				t.Errorf("host %q: %s", host, body)
			}
		}
	}
}

func TestOrigin(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"none", nil, 200},
		{"its own", []string{"Origin", "http://localhost:80", "Sec-Fetch-Site", "same-origin"}, 200},
		{"its own behind TLS", []string{"Origin", "https://LOCALHOST:80"}, 200},
		{"another", []string{"Origin", "https://evil.example"}, 403},
		{"another port", []string{"Origin", "http://localhost:8081"}, 403},
		{"none that is", []string{"Origin", "null"}, 403},
		{"malformed", []string{"Origin", "http://[::1"}, 403},
		{"no origin", []string{"Origin", "localhost:80"}, 403},
		{"a second one", []string{"Origin", "http://localhost:80", "Origin", "https://evil.example"}, 403},
		{"fetched by another", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"framed by another port", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a link from elsewhere", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"of a browser that says less", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"a frame of another", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"an object of another port", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object"}, 403},
		{"forwarded under its name", []string{"X-Forwarded-Host", "evil.example", "Origin", "http://evil.example"}, 403},
		{"typed", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://localhost:80/", nil)
			for n := 0; n < len(c.headers); n += 2 {
				r.Header.Add(c.headers[n], c.headers[n+1])
			}
			if answer, body := ask(t, of(), r); answer.Code != c.want || c.want == 403 && !strings.Contains(body, "another origin") {
				t.Errorf("%d: want %d: %s", answer.Code, c.want, body)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodPatch} {
		answer, _ := ask(t, of(), httptest.NewRequest(method, "http://localhost/", nil))
		if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, answer.Code)
		}
	}
	for _, url := range []string{"/", "/events", "/status.json", "/metrics"} {
		if answer, _ := ask(t, of(), httptest.NewRequest(http.MethodHead, "http://localhost"+url, nil)); answer.Code != http.StatusOK {
			t.Errorf("HEAD %s: %d", url, answer.Code)
		}
	}
}

// Every answer has them, refusals too.
func TestHeaders(t *testing.T) {
	for _, url := range []string{"http://localhost/", "http://localhost/status.json", "http://localhost/metrics", "http://localhost/?format=script", "http://evil.example/", "http://localhost/nothing.txt"} {
		answer, _ := get(t, of(aClient("orders", 1)), url)
		policy := answer.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q: want %s", url, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", url, policy)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := answer.Header().Get(name); got != want {
				t.Errorf("%s: %s %q: want %q", url, name, got, want)
			}
		}
		if answer.Header().Get("Content-Type") == "" {
			t.Errorf("%s: no Content-Type", url)
		}
	}
}

func TestMounted(t *testing.T) {
	h := of(aClient("orders", 1))
	mux := http.NewServeMux()
	mux.Handle("/kept/", h)
	mux.Handle("/stripped/", http.StripPrefix("/stripped", h))
	mux.Handle("/bare/", http.StripPrefix("/bare/", h))
	mux.Handle("/exact", h)
	for path, want := range map[string]string{
		"/kept/": "text/html", "/kept/status.json": "application/json", "/kept/metrics": "text/plain",
		"/stripped/": "text/html", "/stripped/status.json": "application/json", "/stripped/metrics": "text/plain",
		"/bare/": "text/html", "/bare/status.json": "application/json", "/exact": "text/html", "/exact?format=json": "application/json",
		"/kept/?format=style": "text/css", "/bare/?format=script": "text/javascript",
	} {
		answer, _ := get(t, mux, "http://localhost"+path)
		if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Header().Get("Content-Type"), want) {
			t.Errorf("%s: %d, %s: want %s", path, answer.Code, answer.Header().Get("Content-Type"), want)
		}
	}
	for _, path := range []string{"/favicon.ico", "/status.jsn", "/?format=exe"} {
		if answer, body := get(t, h, "http://localhost"+path); answer.Code != http.StatusNotFound || !strings.Contains(body, "json") {
			t.Errorf("%s: %d: %s", path, answer.Code, body)
		}
	}
}

// A writer that cannot flush has no stream, and says so instead of staying silent.
func TestStreamNeedsFlush(t *testing.T) {
	w := httptest.NewRecorder()
	of().ServeHTTP(struct{ http.ResponseWriter }{w}, httptest.NewRequest(http.MethodGet, "http://localhost/events", nil))
	if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "cannot flush") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
