package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/status"
)

func TestListSaysWhatIsThere(t *testing.T) {
	one, _ := serve(t)
	two := nobody(t)
	for _, target := range []string{"static:///" + one + "," + two, "static:///orders?file=" + fleetFile(t, one, two)} {
		code, stdout, stderr := runs(t, "list", target)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit status %d, stderr %q: want 0", target, code, stderr)
		}
		for _, want := range []string{"● eligible  ", "✗ failed  ", two + "  ", "connection refused", "2 instances: 1 failed, 1 eligible; source: 2 instances, answered "} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: want %q in\n%s", target, want, stdout)
			}
		}
	}
}

func TestListOfAName(t *testing.T) {
	one, _ := serve(t)
	code, stdout, _ := runs(t, "list", "dns:///"+one)
	if code != 0 || !strings.Contains(stdout, "● eligible  "+one) {
		t.Errorf("exit status %d, stdout:\n%s", code, stdout)
	}
	code, _, stderr := runs(t, "list", "-timeout", "200ms", "dns:///orders.invalid:1")
	if code != 1 || stderr != "surecall: gRPC finds no instance of this target: does its name resolve?\n" {
		t.Errorf("a name without an address: exit status %d, stderr %q: want 1, and why", code, stderr)
	}
}

// A token that the flag names goes to Consul, in place of the environment's.
func TestListWithATokenFile(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
	seen := make(chan string, 100)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.Header.Get("X-Consul-Token"):
		default:
		}
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer agent.Close()
	file := filepath.Join(t.TempDir(), "a token & more")
	if err := os.WriteFile(file, []byte("of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?tag=v2"} {
		code, stdout, stderr := runs(t, "list", "consul://"+agent.Listener.Addr().String()+"/orders"+query, "-token-file", file, "-timeout", "300ms")
		if got := <-seen; code != 1 || got != "of-the-file" || strings.Contains(stdout+stderr, "of-the-file") {
			t.Errorf("%s: exit status %d, Consul got the token %q, stdout %q, stderr %q", query, code, got, stdout, stderr)
		}
	}
}

func TestListAsJSON(t *testing.T) {
	one, _ := serve(t)
	code, stdout, _ := runs(t, "list", "-json", "static:///"+one)
	var d document
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatal(err)
	}
	if code != 0 || len(d.Clients) != 1 || len(d.Clients[0].Instances) != 1 || d.Clients[0].Instances[0].State != "eligible" {
		t.Errorf("exit status %d, %+v", code, d)
	}
}

func TestListWhereNobodyIsEligible(t *testing.T) {
	code, stdout, stderr := runs(t, "list", "static:///"+nobody(t))
	if code != 1 || stderr != "surecall: no instance is eligible\n" || !strings.Contains(stdout, "1 instance: 1 failed") {
		t.Errorf("exit status %d, stderr %q, stdout:\n%s", code, stderr, stdout)
	}
	code, stdout, stderr = runs(t, "list", "-timeout", "200ms", "consul://"+nobody(t)+"/orders")
	if code != 1 || !strings.Contains(stderr, "connection refused") || !strings.Contains(stdout, "no instance; source: ") {
		t.Errorf("Consul is down: exit status %d, stderr %q, stdout:\n%s", code, stderr, stdout)
	}
}

func TestListOfAPage(t *testing.T) {
	p := newProcess(
		status.Status{Service: "orders\x1b[2J", At: time.Now(), Instances: []status.Instance{instanceOf("eligible")}},
		status.Status{Service: "users", Source: status.Source{Why: "no such\u202e thing"}},
	)
	page := p.page(t)
	code, stdout, stderr := runs(t, "list", page.URL+"/surecall/?x=1")
	if code != 0 || stderr != "" || strings.ContainsAny(stdout, "\x1b\u202e") {
		t.Errorf("exit status %d, stderr %q, stdout %q", code, stderr, stdout)
	}
	for _, want := range []string{"● eligible  orders-1", `orders\x1b[2J: 1 instance: 1 eligible`, `users: no instance; source: no such\u202e thing`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("want %q in\n%s", want, stdout)
		}
	}
	_, stdout, _ = runs(t, "list", "-json", page.URL)
	var d document
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || d.Clients[0].Service != "orders\x1b[2J" || d.Clients[1].Source.Why != "no such\u202e thing" {
		t.Errorf("%v: %+v", err, d)
	}
	if strings.ContainsAny(stdout, "\x1b\u202e") {
		t.Errorf("stdout %q", stdout)
	}
}
