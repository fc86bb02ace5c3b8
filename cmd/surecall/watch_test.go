package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/surecall/surecall/cmd/surecall/internal/table"
	"github.com/surecall/surecall/status"
)

func TestWatchTellsOfAnInstanceThatIsKilled(t *testing.T) {
	one, kill := serve(t)
	two, _ := serve(t)
	w := startWatch(t, "-json", "static:///"+one+","+two)
	w.until(t, one, "eligible")
	kill()
	w.until(t, one, "failed")
	if code := w.stop(); code != 0 {
		t.Errorf("exit status %d after an interrupt: want 0; stderr: %s", code, w.stderr)
	}
}

func TestWatchIsPrintedWhereThereIsNoTerminal(t *testing.T) {
	one, _ := serve(t)
	w := startWatch(t, "static:///"+one)
	var seen []string
	for w.lines.Scan() {
		seen = append(seen, w.lines.Text())
		if strings.Contains(w.lines.Text(), "it makes no calls") {
			break
		}
	}
	text := strings.Join(seen, "\n")
	if !strings.Contains(text, "● eligible  "+one) || strings.Contains(text, "\x1b") {
		t.Errorf("printed\n%s", text)
	}
}

func instanceOf(state string) status.Instance {
	return status.Instance{ID: "orders-1", Address: "10.0.0.1:1", State: state, Eligible: state == "eligible", SlowStart: 1, Share: 1}
}

func TestWatchOfAPageTellsWhatChangesAndNoNumbers(t *testing.T) {
	of := func(state string, inFlight int) status.Status {
		return status.Status{Service: "orders", At: time.Now(), Instances: []status.Instance{instanceOf(state)}, InFlight: inFlight}
	}
	p := newProcess(of("eligible", 1))
	page := p.page(t)
	w := startWatch(t, "-json", "-interval", "100ms", strings.TrimPrefix(page.URL, "http://")+"/surecall/")
	if got := w.next(t); got[0].InFlight != 1 {
		t.Errorf("%d in flight: want 1", got[0].InFlight)
	}
	p.set(of("eligible", 2))
	for range 3 { // the third is of what was set, or later
		<-p.asked
	}
	p.set(of("failed", 3))
	if got := w.next(t); got[0].InFlight != 3 || got[0].Instances[0].State != "failed" {
		t.Errorf("a line for %+v: want none until a state changes", got[0])
	}
}

func TestWatchOutlivesThePage(t *testing.T) {
	p := newProcess(status.Status{Service: "orders"})
	var gone bool
	answered := p.page(t).Config.Handler
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		lost := gone
		p.mu.Unlock()
		if lost {
			http.Error(w, "restarting\x1b[2J", http.StatusServiceUnavailable)
			p.asked <- struct{}{}
			return
		}
		answered.ServeHTTP(w, r)
	}))
	defer page.Close()
	w := startWatch(t, "-json", "-interval", "100ms", page.URL)
	w.next(t)
	<-p.asked
	p.mu.Lock()
	gone = true
	p.mu.Unlock()
	for range 4 {
		<-p.asked
	}
	p.mu.Lock()
	gone = false
	p.clients = []status.Status{{Service: "orders", Shadow: true}}
	p.mu.Unlock()
	if got := w.next(t); !got[0].Shadow {
		t.Errorf("%+v: want the new state", got[0])
	}
	want := "surecall: status page: answers 503 Service Unavailable: restarting\\x1b[2J\n"
	if got := w.stderr.String(); got != want {
		t.Errorf("stderr %q: want once %q", got, want)
	}
}

func TestWatchEndsWhenThereIsNothingToWatch(t *testing.T) {
	answers := func(code int, text string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, text)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for _, tc := range []struct{ name, page, want string }{
		{"refused", "http://user:s3cret@" + nobody(t) + "/?key=s3cret", "connection refused"},
		{"not found", answers(404, "no such page"), "404 Not Found: no such page"},
		{"a page of something else", answers(200, "<html>"), "is not one of surecall's"},
		{"JSON of something else", answers(200, `{"status":"up"}`), `is not one of surecall's: its JSON has no "clients"`},
		{"cut off", answers(200, `{"clients":[`), "is not one of surecall's"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, command := range []string{"watch", "list"} {
				code, stdout, stderr := runs(t, command, tc.page)
				if code != 1 || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Contains(stderr, "s3cret") {
					t.Errorf("%s: exit status %d, stdout %q, stderr %q: want 1, %q", command, code, stdout, stderr, tc.want)
				}
			}
		})
	}
}

func TestUsageOfWatchAndList(t *testing.T) {
	for _, tc := range []struct {
		args string
		want string
	}{
		{"watch", "usage: surecall watch"},
		{"watch a b", `2 targets, ["a" "b"]: want one; surecall watch -h says more`},
		{"watch consul:///orders -interval 1ms", "-interval 1ms: want 100ms to 1h0m0s"}, // flags may follow
		{"list -token-file x static:///a:1", "-token-file is for Consul"},
		{"list -token-file /none/token consul:///orders", "/none/token: no such file"},
		{"list -token-file x consul:///orders?token-file=y", `token-file is given 2 times`},
		{"watch -x a", "-x; surecall watch -h lists the flags"},
		{"watch -x a", "flag provided but not defined: -x"},
		{"list", "usage: surecall list"},
		{"list -interval 1s consul:///orders", "flag provided but not defined: -interval"},
		{"watch -interval 1ms consul:///orders", "-interval 1ms: want 100ms to 1h0m0s"},
		{"list -timeout 0s consul:///orders", "-timeout 0s: want 100ms to 1h0m0s"},
		{"watch -probe 1ms consul:///orders", "-probe 1ms: want 0 or 100ms to 1h0m0s"},
		{"watch -insecure -tls consul:///orders", "-insecure is given with -tls, -ca, -cert or -server-name"},
		{"watch -cert a consul:///orders", `-cert "a" and -key "": want both or neither`},
		{"watch -ca /does/not/exist consul:///orders", "surecall: -ca: open /does/not/exist"},
		{"watch -ca watch_test.go consul:///orders", "-ca watch_test.go: has no certificate in PEM"},
		{"watch -cert watch_test.go -key watch_test.go consul:///orders", "-cert, -key: tls: failed to find any PEM data"},
		{"watch -health-service x http://a", "-health-service has no meaning for the status page"},
		{"watch -insecure localhost:6060/", "-insecure has no meaning for the status page"},
		{"list -tls http://a", "the status page is asked for by http: want https"},
		{"list http:///x", "names no host"},
		{"list http://a:b/", "cannot be parsed"},
		{"list consul:///orders?color=red", `"color" is unknown`},
		{"list consul:///", "service is missing"},
		{"list nonsense://a", "unknown scheme"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, stdout, stderr := runs(t, strings.Fields(tc.args)...)
			if code != badUsage || stdout != "" || !strings.Contains(stderr, tc.want) || strings.Contains(stderr, "surecall: surecall:") {
				t.Errorf("exit status %d, stdout %q, stderr %q: want %d, %q", code, stdout, stderr, badUsage, tc.want)
			}
		})
	}
	if code, _, stderr := runs(t, "list", ""); code != badUsage || !strings.Contains(stderr, "target is empty") {
		t.Errorf("an empty target: exit status %d, stderr %q", code, stderr)
	}
	if code, stdout, stderr := runs(t, "help", "watch"); code != 0 || !strings.Contains(stdout, "usage: surecall watch") || stderr != "" {
		t.Errorf("help: exit status %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestPageAddress(t *testing.T) {
	for target, want := range map[string]string{
		"http://127.0.0.1:6060/surecall/": "http://127.0.0.1:6060/surecall/",
		"https://ops.example.com":         "https://ops.example.com",
		"127.0.0.1:6060/surecall/":        "http://127.0.0.1:6060/surecall/",
		"localhost:6060/":                 "http://localhost:6060/",
		":6060/surecall":                  "http://localhost:6060/surecall",
		"[::1]:6060/x":                    "http://[::1]:6060/x",
		"127.0.0.1:6060":                  "", // what gRPC takes for a server
		"consul:///orders":                "",
		"consul://127.0.0.1:8500/orders":  "",
		"static:///127.0.0.1:1,b:2":       "",
		"dns:///orders:50051":             "",
		"unix:/tmp/socket":                "",
		"orders":                          "",
		"":                                "",
	} {
		if got, ok := pageAddress(target); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v: want %q", target, got, ok, want)
		}
	}
}

func TestServersThatWantTLSAreHinted(t *testing.T) {
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	defer certificates.Close()
	secure := credentials.NewTLS(&tls.Config{Certificates: certificates.TLS.Certificates})
	address, _ := serve(t, grpc.Creds(secure))
	target := "static:///" + address
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"list", target}, "give -tls or -ca"},
		{[]string{"list", "-tls", target}, "surecall: no instance is eligible\n"},
		{[]string{"list", "-insecure", target}, "surecall: no instance is eligible\n"},
	} {
		if code, stdout, stderr := runs(t, tc.args...); code != 1 || !strings.Contains(stderr, tc.want) {
			t.Errorf("%v: exit status %d, stderr %q: want 1, %q; stdout:\n%s", tc.args, code, stderr, tc.want, stdout)
		}
	}
}

func TestFrameDrawsOverWhatWasThere(t *testing.T) {
	if got, want := frame("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J"; got != want {
		t.Errorf("%q: want %q", got, want)
	}
}

func TestNoteSaysHowOldItIs(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 3, 4, 0, time.UTC)
	for want, v := range map[string]view{
		"12:03:09  read from x":                          {how: "read from x"},
		"12:03:09  no instance is eligible":              {how: "read from x", trouble: "no instance is eligible"},
		"12:03:09  as it was at 12:03:04: no such thing": {how: "read from x", lost: fmt.Errorf("no such thing"), at: at},
	} {
		if got := v.note(at.Add(5 * time.Second)); got != want {
			t.Errorf("%q: want %q", got, want)
		}
		if got := v.draw(table.Options{}, at.Add(5*time.Second)); got != "no client\n"+want+"\n" {
			t.Errorf("drawn %q", got)
		}
	}
}

func TestTheLocaleSaysWhichCharacters(t *testing.T) {
	for _, tc := range []struct {
		all, lang string
		want      bool
	}{{"", "", true}, {"", "en_US.UTF-8", true}, {"", "C", false}, {"C", "en_US.UTF-8", false}, {"C.utf8", "C", true}} {
		t.Setenv("LC_ALL", tc.all)
		t.Setenv("LC_CTYPE", "")
		t.Setenv("LANG", tc.lang)
		if got := unicodeLocale(); got != tc.want {
			t.Errorf("LC_ALL=%q LANG=%q: %v", tc.all, tc.lang, got)
		}
	}
}
