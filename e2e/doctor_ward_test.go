package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/internal/consultest"
)

// ward has what the set-ups of the doctor's tests are made from.
type ward struct {
	*testing.T
	plain, strict *consultest.Agent // without and with ACLs
	ca            *authority
	secrets       []string
	service       string // of this set-up alone
}

func newWard(t *testing.T) *ward {
	t.Helper()
	needBinaries(t)
	return &ward{T: t, plain: consultest.Start(t), strict: consultest.StartWith(t, consultest.ACLs()), ca: newAuthority(t)}
}

// patient is a set-up with a service of its own.
func (w *ward) patient(t *testing.T) *ward {
	other := *w
	other.T = t
	other.secrets = nil
	other.service = strings.ToLower(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(t.Name()[strings.Index(t.Name(), "/")+1:], "-"))
	return &other
}

// visit asks about the service at the plain agent.
func (w *ward) visit(query string, args ...string) visit {
	return visit{target: "consul:///" + w.service + query, args: args, env: []string{"CONSUL_HTTP_ADDR=" + w.plain.Addr}}
}

// put writes to an agent.
func (w *ward) put(agent, path string, body any) {
	w.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	request, err := http.NewRequestWithContext(w.Context(), http.MethodPut, "http://"+agent+path, bytes.NewReader(text))
	if err != nil {
		w.Fatal(err)
	}
	if agent == w.strict.Addr {
		request.Header.Set("X-Consul-Token", consultest.ACLs().Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		w.Fatalf("PUT %s: %s: %s", path, response.Status, answer)
	}
}

// passing is a registration with a TTL check that passes; more replaces parts of it.
func (w *ward) passing(id, address string, more map[string]any) map[string]any {
	w.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		w.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	r := map[string]any{
		"Name": w.service, "ID": w.service + "-" + id, "Address": host, "Port": number,
		"Check": map[string]any{"CheckID": w.service + id, "Name": "heart-beat", "TTL": "1h", "Status": "passing"},
	}
	for key, value := range more {
		r[key] = value
	}
	return r
}

// register puts one instance into the plain agent.
func (w *ward) register(address string, more map[string]any) {
	w.Helper()
	w.put(w.plain.Addr, "/v1/agent/service/register", w.passing("1", address, more))
}

// registerAll registers n names of one server: 127.0.0.1, 127.0.0.2, …
func (w *ward) registerAll(n int, address string) {
	w.Helper()
	for i := range n {
		local := strings.Replace(address, "127.0.0.1", fmt.Sprintf("127.0.0.%d", i+1), 1)
		w.put(w.plain.Addr, "/v1/agent/service/register", w.passing(fmt.Sprint(i+1), local, nil))
	}
}

// token makes a token at the strict agent.
func (w *ward) token(rules string) string {
	w.Helper()
	made := token(w.T, w.strict, w.service, rules)
	w.secrets = append(w.secrets, made.Secret)
	return made.Secret
}

// file holds text.
func (w *ward) file(text string) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// listen gives a listener on every loopback address, and what to register for it.
func (w *ward) listen() (net.Listener, string) {
	w.Helper()
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = l.Close() })
	return l, fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port)
}

// closed is an address that refuses connections.
func (w *ward) closed() string {
	l, address := w.listen()
	_ = l.Close()
	return address
}

// talk accepts connections, says text at once, and nothing after it.
func (w *ward) talk(text string) string {
	l, address := w.listen()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.Cleanup(func() { _ = conn.Close() })
			_, _ = io.WriteString(conn, text)
		}
	}()
	return address
}

// web serves HTTP, of the protocols that shape allows.
func (w *ward) web(shape func(*http.Server), handler http.HandlerFunc) string {
	l, address := w.listen()
	s := &http.Server{Handler: handler}
	shape(s)
	w.Cleanup(func() { _ = s.Close() })
	go func() {
		if s.TLSConfig != nil {
			_ = s.ServeTLS(l, "", "")
		} else {
			_ = s.Serve(l)
		}
	}()
	return address
}

// consulOverTLS is the plain agent behind TLS.
func (w *ward) consulOverTLS() string {
	back := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: w.plain.Addr}))
	back.TLS = w.ca.server(w.name("localhost"))
	back.Config.ErrorLog = quiet
	back.StartTLS()
	w.Cleanup(back.Close)
	return back.Listener.Addr().String()
}

// sick is a gRPC server with one thing different.
type sick struct {
	creds       credentials.TransportCredentials
	interceptor grpc.UnaryServerInterceptor
	status      healthpb.HealthCheckResponse_ServingStatus
	noHealth    bool
}

var plaintext = sick{}

// serve runs a gRPC server, whose health is SERVING unless s says otherwise.
func (w *ward) serve(s sick) string {
	var opts []grpc.ServerOption
	if s.creds != nil {
		opts = append(opts, grpc.Creds(s.creds))
	}
	if s.interceptor != nil {
		opts = append(opts, grpc.UnaryInterceptor(s.interceptor))
	}
	server := grpc.NewServer(opts...)
	if !s.noHealth {
		state := health.NewServer()
		if s.status != 0 {
			state.SetServingStatus("", s.status)
		}
		healthpb.RegisterHealthServer(server, state)
	}
	l, address := w.listen()
	go func() { _ = server.Serve(l) }()
	w.Cleanup(server.Stop)
	return address
}

// intercept lets before decide what a health check gets.
func intercept(before func(context.Context) error) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := before(ctx); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// external registers a service of another host, which has no agent.
func (w *ward) external(service map[string]any) {
	w.Helper()
	w.put(w.plain.Addr, "/v1/catalog/register", map[string]any{"Node": "far-away", "Address": "10.1.2.3", "Service": service})
}

// eventually waits until the plain agent's answer for the service has text.
func (w *ward) eventually(text string) { w.Helper(); w.await("/v1/health/service/", text) }

// locally waits until what the plain agent itself knows of the service has text: the
// catalog may be told minutes later.
func (w *ward) locally(text string) { w.Helper(); w.await("/v1/agent/health/service/name/", text) }

func (w *ward) await(path, text string) {
	w.Helper()
	var answer []byte
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get("http://" + w.plain.Addr + path + w.service)
		if err != nil {
			w.Fatal(err)
		}
		answer, _ = io.ReadAll(response.Body)
		_ = response.Body.Close()
		if strings.Contains(string(answer), text) {
			return
		}
	}
	w.Fatalf("Consul never says %q of %s, but\n%s", text, w.service, answer)
}
