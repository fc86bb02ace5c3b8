package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/cmd/surecall/internal/doctor"
)

// agent answers as a Consul agent does, with these entries of "orders".
func agent(t *testing.T, entries ...string) (target string) {
	t.Helper()
	for _, name := range []string{"CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_SSL"} {
		t.Setenv(name, "")
	}
	answers := map[string]string{
		"/v1/agent/version":         `{"HumanVersion": "1.22.5"}`,
		"/v1/status/leader":         `"127.0.0.1:8300"`,
		"/v1/health/service/orders": "[" + strings.Join(entries, ",") + "]",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "42")
		if r.URL.Path == "/v1/acl/token/self" {
			http.Error(w, "ACL support disabled", http.StatusUnauthorized)
		} else if r.URL.Query().Has("index") {
			<-r.Context().Done()
		} else if answer, ok := answers[r.URL.Path]; ok {
			_, _ = w.Write([]byte(answer))
		} else {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return "consul://" + server.Listener.Addr().String() + "/orders"
}

func entry(id, address string, meta string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf(`{"Node": {"Node": "n", "Address": "127.0.0.1"},
		"Service": {"ID": %q, "Service": "orders", "Address": %q, "Port": %s, "Weights": {"Passing": 1, "Warning": 1}, "Meta": {%s}},
		"Checks": [{"CheckID": "c", "ServiceID": "x", "Status": "passing"}]}`, id, host, port, meta)
}

func server(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

func run(t *testing.T, o doctor.Options) *doctor.Report {
	t.Helper()
	d, err := doctor.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var told []doctor.Step
	report := d.Run(t.Context(), func(s doctor.Step) { told = append(told, s) })
	if fmt.Sprint(told) != fmt.Sprint(report.Steps) {
		t.Errorf("told %v: want what the report has, %v", told, report.Steps)
	}
	for _, s := range report.Steps {
		if (s.Status == doctor.Fault || s.Status == doctor.Warn) == (s.Remedy == "") {
			t.Errorf("%s %s: remedy %q", s.Status, s.Name, s.Remedy)
		}
	}
	return report
}

// find returns the text of a step, with its status.
func find(r *doctor.Report, name string) string {
	var lines []string
	for _, s := range r.Steps {
		if s.Name == name {
			lines = append(lines, string(s.Status)+" "+s.Text)
		}
	}
	return strings.Join(lines, "\n")
}

// Of more instances than are dialled, the rest is said to be left out.
func TestManyInstances(t *testing.T) {
	port := server(t)
	var entries []string
	for i := range 25 {
		entries = append(entries, entry(fmt.Sprint("orders-", i), fmt.Sprintf("127.0.0.%d:%s", i+1, port), ""))
	}
	r := run(t, doctor.Options{Target: agent(t, entries...)})
	if got := find(r, "dial"); !r.Healthy || !strings.Contains(got, "all 20 instances: connected; 5 more are left out") {
		t.Errorf("%q: want 20 that are connected, and 5 left out\n%+v", got, r.Steps)
	}
}

// What is the same at several instances is one line.
func TestFaultsAreGrouped(t *testing.T) {
	r := run(t, doctor.Options{Target: agent(t,
		entry("a", "127.0.0.1:"+server(t), ""), entry("b", "127.0.0.1:1", ""), entry("c", "127.0.0.2:1", ""), entry("d", "orders.invalid:1", ""))})
	want := "fault 2 of 4 instances: connection refused: b at 127.0.0.1:1, c at 127.0.0.2:1\n" +
		`fault 1 of 4 instances: the name "orders.invalid" does not resolve here: d at orders.invalid:1`
	if got := find(r, "dial"); got != want || !strings.HasPrefix(find(r, "health"), "ok") {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// A registration that is hostile or huge is one short line that prints.
func TestHostileEntries(t *testing.T) {
	evil := strings.Repeat(`\u001b[2J\u202e`, 10_000)
	r := run(t, doctor.Options{Target: agent(t,
		strings.ReplaceAll(entry("EVIL", "127.0.0.1:1", `"weight": "EVIL", "surecall-server-name": "EVIL"`), "EVIL", evil), `null`, `{"Node": null, "Service": null}`)})
	for _, s := range r.Steps {
		if len(s.Text) > 5000 || strings.ContainsAny(s.Text+s.Remedy, "\x1b\u202e\n") {
			t.Errorf("%s: %d bytes, %.200q", s.Name, len(s.Text), s.Text)
		}
	}
	if r.Healthy {
		t.Error("no fault is found")
	}
}

// The same address twice, and a weight that is none, are worth a warning.
func TestWarnings(t *testing.T) {
	address := "127.0.0.1:" + server(t)
	r := run(t, doctor.Options{Target: agent(t, entry("a", address, ""), entry("b", address, `"weight": "heavy"`))})
	got := find(r, "registration")
	for _, want := range []string{`warn b: meta weight "heavy"`, "warn 1 address registered more than once, and gets as many shares: " + address + " is a, b"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if !r.Healthy || r.ExitCode() != 0 || r.Summary() != "no fault found, 2 warnings" {
		t.Errorf("healthy %v, exit code %d, %q", r.Healthy, r.ExitCode(), r.Summary())
	}
}

// No form of a token, and no password, is in a report.
func TestNoSecretIsTold(t *testing.T) {
	const secret = "5ec2e700-0000-4000-8000-00000000abcd"
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		http.Error(w, "I saw "+r.Header.Get("X-Consul-Token")+user+password, http.StatusTeapot)
	}))
	defer echo.Close()
	host := echo.Listener.Addr().String()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]doctor.Options{
		"in the target":       {Target: "consul://" + host + "/orders?token=" + secret},
		"in a broken target":  {Target: "consul://" + host + "/orders?Token=" + secret + "&token=" + secret + "&x=%zz"},
		"in no URL":           {Target: "consul://" + host + "/%zz?token=" + secret},
		"as a password":       {Target: "consul://u:" + secret + "@" + host + "/orders"},
		"in a file":           {Target: "consul://" + host + "/orders", TokenFile: file},
		"in the target's":     {Target: "consul://" + host + "/orders?token-file=" + file},
		"in the environment":  {Target: "consul://" + host + "/orders"},
		"of an unknown parts": {Target: "memory://u:" + secret + "@h/orders?token=" + secret},
		"without a scheme":    {Target: "u:" + secret + "@h?token=" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CONSUL_HTTP_TOKEN", "")
			if name == "in the environment" {
				t.Setenv("CONSUL_HTTP_TOKEN", secret)
			}
			r := run(t, o)
			text, err := json.Marshal(r)
			if err != nil || strings.Contains(string(text), "5ec2e7") || r.Healthy {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.pem")
	_, err := doctor.New(doctor.Options{Timeout: time.Hour, CAFile: file, CertFile: file, Plaintext: true})
	for _, want := range []string{"target is empty", "-timeout 1h0m0s: want 10ms to 1m0s", "-ca: open", `-cert "` + file + `" and -key "": want both or neither`, "-insecure is given with -tls"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q too", err, want)
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v: want it to wrap the cause", err)
	}
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := doctor.New(doctor.Options{Target: "static:///a:1", CAFile: file}); err == nil {
		t.Error("a CAFile without certificates is taken")
	}
}

// A walk that is interrupted ends, and says what it did not reach.
func TestInterrupted(t *testing.T) {
	d, err := doctor.New(doctor.Options{Target: "static:///127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := d.Run(ctx, nil); find(r, "dial") != "skip not reached" || r.Healthy {
		t.Errorf("%+v: want nothing to be reached, and no health", r)
	}
}
