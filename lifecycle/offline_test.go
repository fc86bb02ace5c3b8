package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/lifecycle/internal/admin"
)

// process is the server that is sent offline.
type process struct {
	drain time.Duration
	fail  error
	count int // of /offline
}

func (p *process) Live() error  { return nil }
func (p *process) Ready() error { return nil }
func (p *process) Offline(ctx context.Context) error {
	p.count++
	if p.drain == 0 {
		return p.fail
	}
	drained := time.NewTimer(p.drain)
	defer drained.Stop()
	select {
	case <-drained.C:
		return p.fail
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (p *process) Online(context.Context) error { return nil }
func (p *process) InFlight() admin.InFlight {
	return admin.InFlight{Unary: 3, Streams: 1, Draining: true}
}

// RoundTrip has the endpoint answer without a network, as far as its time allows.
func (p *process) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	inbound := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), nil)
	admin.Handler(p, admin.Options{}).ServeHTTP(w, inbound)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func serveAdmin(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestOfflineCommand(t *testing.T) {
	p := new(process)
	good := serveAdmin(t, admin.Handler(p, admin.Options{}))
	failing := serveAdmin(t, admin.Handler(&process{fail: errors.New("stopped")}, admin.Options{}))
	other := serveAdmin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "<html>") }))
	_, port, _ := strings.Cut(good, ":")
	const closed = "127.0.0.1:1"
	tests := []struct {
		name, args string
		address    string
		env        string
		ignored    bool // not done
		code       int
		want       string // in what it says
		usage      bool
	}{
		{name: "other command", args: "serve", address: good, ignored: true},
		{name: "no command", address: good, ignored: true},
		{name: "its name as a flag", args: "-offline", address: good, ignored: true},
		{name: "drained", args: "offline", address: good, want: "offline: drained in "},
		{name: "flag", args: "offline -admin " + good, address: closed, env: closed, want: "asking the server at " + good},
		{name: "environment", args: "offline", address: closed, env: good, want: "drained"},
		{name: "as listened on", args: "offline", address: ":" + port, want: "drained"},
		{name: "as listened on, all addresses", args: "offline --admin=0.0.0.0:" + port, want: "drained"},
		{name: "as listened on, all IPv6 addresses", args: "offline --admin=[::]:" + port, want: "drained"},
		{name: "nobody there", args: "offline", address: closed, code: 1, want: "POST /offline: dial tcp 127.0.0.1:1: "},
		{name: "it fails", args: "offline", address: failing, code: 1, want: "POST /offline: 409 Conflict: offline: stopped"},
		{name: "something else there", args: "offline", address: other, code: 1, want: "want the admin endpoint of a surecall server"},
		{name: "no address", args: "offline", code: 2, want: "no admin address: want host:port in -admin or SURECALL_ADMIN", usage: true},
		{name: "no port", args: "offline", address: "localhost", code: 2, want: `admin address "localhost": want host:port`, usage: true},
		{name: "port 0", args: "offline", address: "localhost:0", code: 2, want: "want host:port", usage: true},
		{name: "unknown flag", args: "offline -now", address: good, code: 2, want: "-now", usage: true},
		{name: "argument", args: "offline now", address: good, code: 2, want: `argument "now": want none`, usage: true},
		{name: "timeout", args: "offline -timeout -1s", address: good, code: 2, want: "-timeout -1s: want more than 0", usage: true},
		{name: "help", args: "offline -h", code: 0, want: "(default 25s)", usage: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(adminEnv, tt.env)
			t.Setenv("HTTP_PROXY", "http://127.0.0.1:2") // of no concern
			var out bytes.Buffer
			done, code := OfflineCommand(strings.Fields(tt.args), tt.address, &out)
			if done == tt.ignored || code != tt.code {
				t.Errorf("done %v, code %d, want %v, %d: %s", done, code, !tt.ignored, tt.code, &out)
			}
			if !strings.Contains(out.String(), tt.want) || tt.ignored && out.Len() > 0 {
				t.Errorf("says %q, want %q in it", &out, tt.want)
			}
			if got := strings.Contains(out.String(), "usage:"); got != tt.usage {
				t.Errorf("says %q, want the usage: %v", &out, tt.usage)
			}
		})
	}
	if p.count != 6 {
		t.Errorf("the server was sent offline %d times, want 6", p.count)
	}
}

func TestOfflineCommandSaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := offlineCommand{out: &out, transport: &process{drain: 2500 * time.Millisecond}, address: "127.0.0.1:9901", timeout: time.Minute}
		if err := c.run(); err != nil {
			t.Error(err)
		}
		want := `offline: asking the server at 127.0.0.1:9901 to drain
offline: in flight after 1s: 3 unary, 1 streams
offline: in flight after 2s: 3 unary, 1 streams
offline: drained in 2.5s
`
		if out.String() != want {
			t.Errorf("says\n%swant\n%s", &out, want)
		}
	})
}

func TestOfflineCommandGivesUpAndTheDrainDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			args []string
			want time.Duration
		}{{nil, 25 * time.Second}, {[]string{"-timeout", "5s"}, 5 * time.Second}} {
			c := offlineCommand{out: io.Discard, transport: &process{drain: time.Hour}}
			if err := c.parse(tt.args, "127.0.0.1:9901"); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err := c.run()
			want := fmt.Sprintf("no answer after %v; a drain that has begun goes on", tt.want)
			if took := time.Since(start); took != tt.want || err == nil || err.Error() != want {
				t.Errorf("%q: %v after %v", tt.args, err, took)
			}
		}
	})
}
