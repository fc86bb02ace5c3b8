package status_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/status"
)

// site is a server of the page, whose clients a test changes.
type site struct {
	t      *testing.T
	server *http.Server
	client *http.Client

	mu    sync.Mutex
	reads int
	takes time.Duration // what a read takes
	all   []status.Status
}

// open serves the page of clients, within a bubble. A connection holds nothing: what is
// written waits until it is read.
func open(t *testing.T, all ...status.Status) *site {
	t.Helper()
	s := &site{t: t, all: all}
	l := pipe.Listen()
	s.server = &http.Server{Handler: status.Handler(s.read), ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }}
	s.client = &http.Client{Transport: transport}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.server.Serve(l) })
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = s.server.Close()
		serving.Wait()
	})
	return s
}

func (s *site) read() []status.Status {
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	all := slices.Clone(s.all)
	for n := range all {
		all[n].Instances = slices.Clone(all[n].Instances)
	}
	return all
}

func (s *site) change(f func(s *status.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.all[0])
}

func (s *site) wasRead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// reader is a page that follows the stream.
type reader struct {
	t     *testing.T
	body  *bufio.Reader
	close func()
	parts map[string]string
	lists map[string][]string
}

type message struct {
	kind  string
	size  int
	Shape string
	Parts map[string]string
	Lists map[string][]string
}

func (s *site) follow() *reader {
	s.t.Helper()
	answer, err := s.client.Get("http://localhost/events")
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatal(answer.Status, answer.Header)
	}
	r := &reader{t: s.t, body: bufio.NewReader(answer.Body), parts: map[string]string{}, lists: map[string][]string{}}
	r.close = sync.OnceFunc(func() { answer.Body.Close(); synctest.Wait() })
	s.t.Cleanup(r.close)
	if m := r.next(); m.kind != "" {
		s.t.Fatalf("the stream begins with %q: want how soon to try again", m.kind)
	}
	return r
}

// next waits for the next message, which it applies as the page's script does.
func (r *reader) next() (m message) {
	r.t.Helper()
	for {
		line, err := r.body.ReadString('\n')
		if err != nil {
			r.t.Fatalf("the stream ended: %v", err)
		}
		m.size += len(line)
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "":
			for id, html := range m.Parts {
				r.parts[id] = html
			}
			for id, ids := range m.Lists {
				r.lists[id] = ids
			}
			return m
		case "event":
			m.kind = value
		case "data":
			if value != "" {
				if err := json.Unmarshal([]byte(value), &m); err != nil {
					r.t.Fatal(err)
				}
			}
		case "retry":
		default:
			r.t.Fatalf("a line %q", line)
		}
	}
}

// news waits for a message that is no beat.
func (r *reader) news() message {
	r.t.Helper()
	for {
		if m := r.next(); m.kind == "news" {
			return m
		}
	}
}

// shows is what the page of r shows: of lists their children, in order.
func (r *reader) shows() string {
	var b strings.Builder
	listed := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(r.lists)) {
		fmt.Fprintf(&b, "%s:\n", id)
		for _, child := range r.lists[id] {
			listed[child] = true
			fmt.Fprintf(&b, "  %s\n", r.parts[child])
		}
	}
	for _, id := range []string{"top", "s0-head", "s0-more", "s0-policies"} {
		fmt.Fprintf(&b, "%s\n", r.parts[id])
	}
	return b.String()
}

func set(s *status.Status, n int, state event.State) {
	s.Instances[n].State, s.Instances[n].Eligible = string(state), state == event.Eligible
}

// A change of state is told within 0.3 s, and nothing but what changed.
func TestChangeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 500))
		r := s.follow()
		first := r.news()
		if len(r.lists["s0-instances"]) != 500 || len(first.Parts) < 500 {
			t.Fatalf("the first message tells of %d instances", len(r.lists["s0-instances"]))
		}
		time.Sleep(70 * time.Millisecond)
		s.change(func(c *status.Status) { set(c, 123, event.Failed) })
		began := time.Now()
		m := r.news()
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("told after %v", took)
		}
		second := m.Parts[m.Lists["s0-instances"][1]] // the first one failed before
		if !strings.Contains(second, "orders-124") || !strings.Contains(second, "failed") {
			t.Errorf("the second row: %s", second)
		}
		if len(m.Parts) > 3 || m.size > first.size/10 { // the row, the section's head, the page's
			t.Errorf("%d parts, %d bytes of %d", len(m.Parts), m.size, first.size)
		}
	})
}

// Whatever is no mere number is told at once.
func TestWhatIsToldAtOnce(t *testing.T) {
	for name, change := range map[string]func(*status.Status){
		"a state":     func(c *status.Status) { c.Instances[0].State = "suspect" },
		"eligibility": func(c *status.Status) { c.Instances[0].Eligible = false },
		"a reason":    func(c *status.Status) { c.Instances[1].Why = "for another reason" },
		"a mode":      func(c *status.Status) { c.Instances[0].Mode = "forced open" },
		"a weight":    func(c *status.Status) { c.Instances[0].Weight = 77 },
		"an instance more": func(c *status.Status) {
			c.Instances = append(c.Instances, status.Instance{ID: "new", State: "connecting"})
		},
		"an instance less": func(c *status.Status) { c.Instances = c.Instances[1:] },
		"an incarnation":   func(c *status.Status) { c.Instances[0].Incarnation = "2" },
		"its breaker":      func(c *status.Status) { c.Instances[0].Breaker = &status.Breaker{State: "open"} },
		"a method's breaker": func(c *status.Status) {
			c.Methods = []status.Method{{Name: "/a/B", Breaker: &status.Breaker{State: "open"}}}
		},
		"the service's": func(c *status.Status) { c.ServiceBreaker = &status.Breaker{State: "open"} },
		"trust":         func(c *status.Status) { c.Source.Trusted = false },
		"the source's":  func(c *status.Status) { c.Source.Why = "no leader" },
		"a datacenter's": func(c *status.Status) {
			c.Source.Datacenters = []status.Source{{Datacenter: "a", Trusted: true}, {Datacenter: "b", Why: "no leader"}}
		},
		"what it lists": func(c *status.Status) { c.Source.Instances = 9 },
		"shadow mode":   func(c *status.Status) { c.Shadow = true },
		"a kill switch": func(c *status.Status) { c.Disabled = []string{"retry"} },
		"a policy":      func(c *status.Status) { c.Policies = []status.Policy{{Layer: "owner", Refused: "line 3"}} },
		"an event":      func(c *status.Status) { c.Events = []status.Event{{At: noon, Text: "x"}} },
		"a bad call":    func(c *status.Status) { c.BadCalls = []status.BadCall{{At: noon, Code: "INTERNAL"}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, aClient("orders", 3))
				s.all[0].Source.Datacenters = []status.Source{{Datacenter: "a", Trusted: true}, {Datacenter: "b", Trusted: true}}
				r := s.follow()
				r.news()
				r.news() // the page's clock
				time.Sleep(time.Millisecond)
				s.change(change)
				began := time.Now()
				r.news()
				if took := time.Since(began); took > 300*time.Millisecond {
					t.Errorf("told after %v", took)
				}
			})
		})
	}
}

// Numbers change all the time, and are told once a second.
func TestNumbersAreToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		r := s.follow()
		r.news()
		began, told := time.Now(), 0
		for time.Since(began) < 10*time.Second {
			s.change(func(c *status.Status) { c.Instances[2].InFlight++ })
			if m := r.news(); len(m.Lists) > 0 {
				t.Errorf("lists that did not change: %v", m.Lists)
			}
			told++
		}
		if told < 8 || told > 11 {
			t.Errorf("told %d times in 10 s", told)
		}
	})
}

// With no news there is a sign of life, also past the server's timeouts.
func TestBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t) // no clients: only the clock goes on
		s.all = nil
		r := s.follow()
		r.news()
		began := time.Now()
		for range 20 {
			r.next()
		}
		if took := time.Since(began); took > 101*time.Second {
			t.Errorf("20 messages in %v", took)
		}
	})
}

// All readers together cause the reads of one, and none after the last has gone.
func TestReadsOnlyForReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		time.Sleep(time.Minute)
		if n := s.wasRead(); n != 0 {
			t.Errorf("read %d times without a reader", n)
		}
		var readers []*reader
		for range 10 {
			r := s.follow()
			r.news()
			readers = append(readers, r)
		}
		before := s.wasRead()
		time.Sleep(10 * time.Second)
		if n := s.wasRead() - before; n < 40 || n > 51 {
			t.Errorf("read %d times in 10 s: want one in 200 ms", n)
		}
		for _, r := range readers {
			r.close()
		}
		time.Sleep(time.Second)
		before = s.wasRead()
		time.Sleep(time.Minute)
		if n := s.wasRead() - before; n != 0 {
			t.Errorf("read %d times after the last reader", n)
		}
		s.follow().news() // and again
	})
}

func TestTooManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		var readers []*reader
		for range 32 {
			r := s.follow()
			readers = append(readers, r)
		}
		answer, err := s.client.Get("http://localhost/events")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
		}
		readers[7].close()
		s.follow().news()
	})
}

// A reader that pauses is told what is new by then, and not what was in between.
func TestSlowReaderIsToldTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		r := s.follow()
		r.news()
		for n := range 40 {
			time.Sleep(200 * time.Millisecond)
			s.change(func(c *status.Status) { c.Instances[2].Why = fmt.Sprintf("reason %d.", n) })
		}
		time.Sleep(time.Second)
		r.news() // this one was under way
		r.news()
		var rows string
		for _, id := range r.lists["s0-instances"] {
			rows += r.parts[id]
		}
		if !strings.Contains(rows, "reason 39.") {
			t.Errorf("after two messages: %s", rows)
		}
	})
}

// A reader that reads nothing any more is let go, and its place is free again.
func TestStuckReaderIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		for range 32 {
			s.follow()
		}
		time.Sleep(time.Minute)
		before := s.wasRead()
		time.Sleep(time.Minute)
		if n := s.wasRead() - before; n != 0 {
			t.Errorf("read %d times for those who do not listen", n)
		}
		s.follow().news()
	})
}

// An open page does not hold up a server that shuts down.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		r := s.follow()
		r.news()
		go func() {
			_, _ = io.Copy(io.Discard, r.body)
		}()
		began := time.Now()
		if err := s.server.Shutdown(t.Context()); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = s.server.Shutdown(t.Context()) // a second one does no harm
	})
}
