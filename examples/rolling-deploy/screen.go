package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// screen is what is shown, at most 100 columns: lines, and under them, on a terminal,
// one that says how things are now.
type screen struct {
	clients  *clients
	start    time.Time
	terminal bool

	mu  sync.Mutex
	out io.Writer
	now string // the last line, without its end
}

func newScreen(out io.Writer, c *clients) *screen {
	s := &screen{clients: c, out: out, start: time.Now()}
	if file, ok := out.(*os.File); ok && os.Getenv("TERM") != "dumb" {
		info, err := file.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// line shows a line above that of now.
func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if s.now != "" {
		text = "\r\x1b[K" + text
	}
	_, _ = fmt.Fprintf(s.out, "%s\n%s", text, s.now) // a screen that is gone is no reason to stop
}

// say shows an event.
func (s *screen) say(format string, args ...any) {
	s.line("%5.1fs  %s", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// live keeps the line of now up to date, until its result is called.
func (s *screen) live() (stop func()) {
	if !s.terminal {
		return func() {}
	}
	ending, done := make(chan struct{}), make(chan struct{})
	tick := time.NewTicker(200 * time.Millisecond)
	go func() {
		defer close(done)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				sure, _ := s.clients.sure.all()
				plain, _ := s.clients.plain.all()
				s.show(fmt.Sprintf("%5.1fs  surecall: %d calls, %d failed, %d broken   plain: %d calls, %d failed, %d broken",
					time.Since(s.start).Seconds(), sure.calls, sure.failed, sure.broken, plain.calls, plain.failed, plain.broken))
			case <-ending:
				s.show("")
				return
			}
		}
	}()
	return func() {
		close(ending)
		<-done
	}
}

func (s *screen) show(now string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
	_, _ = fmt.Fprintf(s.out, "\r\x1b[K%s", now)
}

func (s *screen) opening(f *fleet) {
	registry := "a registry in this process"
	if f.consul != nil {
		registry = f.consul.String()
	}
	c := f.config
	s.line("%d server processes on %s", c.servers, registry)
	s.line("%d surecall clients and 1 plain round_robin, %d unary calls and %.1f streams a second each, deadline %v",
		sureClients, c.rate, float64(c.rate)/callsEach, deadline)
	s.line("a leaving server serves on for %v, then until no call has come for 500ms and none is in flight\n", c.propagation)
}

// table shows what the callers saw, and what it took the servers.
func (s *screen) table(r *report) {
	const head = "   calls  failed  broken   slowest"
	s.line("\n%-22s%-38s%s", "What the callers saw", fmt.Sprintf("   surecall, %d clients", sureClients), "   plain round_robin, 1 client")
	s.line("%-22s%-38s%s", "", head, head)
	var sure, plain tally
	for k := range kinds {
		s.line("%-22s%-38s%s", k, columns(k, r.sure.kinds[k]), columns(k, r.plain.kinds[k]))
		sure.merge(r.sure.kinds[k])
		plain.merge(r.plain.kinds[k])
	}
	s.line("%-22s%-38s%s", "all", columns(kinds, sure), columns(kinds, plain))
	s.line("slowest counts from when a call was due to its answer, of a stream to its first message.")
	s.line("\nWhat it took each server to leave, from SIGTERM to the end of its process")
	for n, round := range r.rounds {
		var took strings.Builder
		for _, d := range round.drains {
			fmt.Fprintf(&took, "%8s", short(d))
		}
		s.line("%-22s%s", fmt.Sprintf("round %d, %s", n+1, round), took.String())
	}
	s.line("\n%d servers replaced in %s under load: %d calls failed, %d streams broke.",
		len(r.rounds)*len(r.rounds[0].drains), short(r.took), sure.failed+plain.failed, sure.broken+plain.broken)
}

// columns are one side of a line; only streams can break.
func columns(k kind, t tally) string {
	if t.calls == 0 {
		return fmt.Sprintf("%8s%8s%8s%10s", "–", "–", "–", "–")
	}
	broken := fmt.Sprint(t.broken)
	if k < streams {
		broken = "–"
	}
	return fmt.Sprintf("%8d%8d%8s%10s", t.calls, t.failed, broken, short(t.slowest))
}

// short is d in at most 7 columns.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", ms(d))
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", ms(d))
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}
