//go:build unix

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/surecall/surecall/examples/internal/exampletest"
	"github.com/surecall/surecall/internal/consultest"
)

// server starts a server of the orders service and returns it once it is online.
func server(t *testing.T, binary string, env []string, flags ...string) (p *exampletest.Process, address string) {
	t.Helper()
	p = exampletest.Start(t, env, binary, append(flags, "-listen", "127.0.0.1:0", "-admin", "")...)
	return p, exampletest.Value(p.Await(t, "lifecycle: online"), "address")
}

// programs are the two binaries.
type programs struct{ client, server string }

func TestClient(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs, and waits for drains")
	}
	p := programs{client: exampletest.Build(t, "."), server: exampletest.Build(t, "../server")}
	for name, test := range map[string]func(*testing.T, programs){
		"a server leaves":   serverLeaves,
		"a rate is checked": rateIsChecked,
		"nobody serves":     nobodyServes,
		"its status page":   statusPage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

func serverLeaves(t *testing.T, p programs) {
	one, oneAt := server(t, p.server, nil, "-static")
	_, twoAt := server(t, p.server, nil, "-static")
	leave(t, one, p.client, nil, "-target", fmt.Sprintf("static:///%s,%s", oneAt, twoAt))
}

func TestAServerLeavesOnConsul(t *testing.T) {
	env := []string{"CONSUL_HTTP_ADDR=" + consultest.Start(t).Addr}
	p := programs{client: exampletest.Build(t, "."), server: exampletest.Build(t, "../server")}
	one, _ := server(t, p.server, env, "-id", "one", "-weight", "10", "-zone", "a")
	_, _ = server(t, p.server, env, "-id", "two", "-weight", "10", "-zone", "b")
	dir := t.TempDir()
	leave(t, one, p.client, env, "-snapshot-dir", dir)
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) == 0 {
		t.Errorf("-snapshot-dir holds %v, %v; want a snapshot", files, err)
	}
}

// leave runs the client on two servers, ends one of them, and then the client.
func leave(t *testing.T, one *exampletest.Process, binary string, env []string, flags ...string) {
	t.Helper()
	client := exampletest.Start(t, env, binary, append(flags, "-v")...)
	client.Await(t, "2 eligible")
	one.Signal(t, syscall.SIGTERM)
	client.Await(t, " 1 eligible")
	if err := one.Wait(t); err != nil {
		t.Errorf("the server ended with %v; it printed:\n%s", err, one.Output())
	}
	client.Await(t, " 1 eligible")
	client.Signal(t, os.Interrupt)
	summary := client.Await(t, "calls in")
	if !strings.Contains(summary, ", 0 failed,") || !strings.Contains(summary, "broke 0 times") {
		t.Errorf("%s; want 0 failed and 0 broken; it printed:\n%s", summary, client.Output())
	}
	if err := client.Wait(t); err != nil {
		t.Errorf("the client ended with %v", err)
	}
}

func rateIsChecked(t *testing.T, programs programs) {
	p := exampletest.Start(t, nil, programs.client, "-rate", "0")
	if err := p.Wait(t); err == nil || !strings.Contains(p.Output(), "-rate 0: want 1 to 10000") {
		t.Errorf("%v, printed %q", err, p.Output())
	}
}

// With nobody to call, the client says what it knows, and that calls failed.
func nobodyServes(t *testing.T, programs programs) {
	p := exampletest.Start(t, nil, programs.client, "-target", "static:///127.0.0.1:1", "-rate", "20")
	p.Await(t, "no eligible instance")
	p.Signal(t, os.Interrupt)
	if err := p.Wait(t); err == nil || !strings.Contains(p.Output(), "calls failed, the last with: ") {
		t.Errorf("%v, printed:\n%s", err, p.Output())
	}
}

// The page and the metrics are there while it runs; one that reads the page to its end does
// not hold up the program's.
func statusPage(t *testing.T, programs programs) {
	_, at := server(t, programs.server, nil, "-static")
	p := exampletest.Start(t, nil, programs.client, "-target", "static:///"+at, "-status", "127.0.0.1:0")
	_, rest, _ := strings.Cut(p.Await(t, "status page: "), "status page: ")
	page, _, _ := strings.Cut(rest, " ")
	p.Await(t, " 1 eligible")
	for path, want := range map[string]string{"": "<h1", "metrics": "\nsurecall_client_calls_total{", "status.json": `"service"`} {
		if text := read(t, page+path); !strings.Contains(text, want) {
			t.Errorf("%s%s has no %q:\n%s", page, path, want, text)
		}
	}
	events, err := http.Get(page + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	p.Signal(t, os.Interrupt)
	if err := p.Wait(t); err != nil {
		t.Errorf("the client ended with %v; it printed:\n%s", err, p.Output())
	}
}

func read(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}
