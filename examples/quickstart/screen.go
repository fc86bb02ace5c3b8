package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// screen is what is shown: at most 100 columns, and plain text unless out is a terminal.
type screen struct {
	config config
	mu     sync.Mutex
	out    io.Writer
	color  bool
}

func newScreen(out io.Writer, c config) *screen {
	s := &screen{config: c, out: out}
	if file, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := file.Stat()
		s.color = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// The colors, as parameters of ANSI's SGR.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *screen) paint(color, text string) string {
	if !s.color || color == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, format, args...) // a screen that is gone is no reason to stop
}

func (s *screen) opening(f *fleet) {
	registry := "a registry in memory"
	if f.consul != nil {
		registry = f.consul.String()
	}
	s.printf("%s on %s; two clients, %d calls a second each, deadline %v\n",
		s.paint(bold, fmt.Sprintf("%d server processes", len(f.processes))), registry, s.config.rate, deadline)
	if !canStop {
		s.printf("(this system has no SIGSTOP: the server hangs in its handlers instead)\n")
	}
	const side = " calls  failed     p99   share by instance"
	s.printf("\n%s\n", s.paint(bold, fmt.Sprintf("%10s%-45s%s", "", "surecall", "plain round_robin")))
	s.printf("%s\n", s.paint(faint, fmt.Sprintf("   time %-45s%s", side, side)))
}

// tell shows an event between the lines of the seconds.
func (s *screen) tell(at time.Duration, text string) {
	s.printf("%s\n", s.paint(yellow, fmt.Sprintf("%6.1fs  ▸ %s", at.Seconds(), text)))
}

// everySecond shows a line of the calls that ended in each second, until the show is
// over or ctx ends. The channel it returns is closed then.
func (s *screen) everySecond(ctx context.Context, start time.Time, sides ...*load) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := make([]int, len(sides))
		for n := 1; n <= int(s.config.duration/time.Second); n++ {
			if sleepUntil(ctx, start.Add(time.Duration(n)*time.Second)) != nil {
				return
			}
			line := fmt.Sprintf("%6ds", n)
			for i, l := range sides {
				calls := l.since(seen[i])
				seen[i] += len(calls)
				line += "  " + s.side(calls)
			}
			s.printf("%s\n", line)
		}
	}()
	return done
}

// side is one contender's part of a line.
func (s *screen) side(calls []call) string {
	calls = slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return c.method != get })
	var t tally
	latencies := make([]time.Duration, 0, len(calls))
	served := map[int]int{}
	for _, c := range calls {
		t.add(c)
		latencies = append(latencies, c.latency())
		served[number(c.servedBy)]++
	}
	p99 := time.Duration(0)
	if slices.Sort(latencies); len(latencies) > 0 {
		p99 = latencies[len(latencies)*99/100]
	}
	failed := fmt.Sprintf("%7d", t.failed)
	if t.failed > 0 {
		failed = s.paint(red, failed)
	}
	return fmt.Sprintf("%5d %s %7s   %s", t.calls, failed, short(p99), s.bar(served, t.calls))
}

// barWidth is how many cells a bar has: each is 5 % of the calls.
const barWidth = 20

// bar shows each instance's share as a run of its number; failed calls are crosses.
func (s *screen) bar(served map[int]int, calls int) string {
	var b strings.Builder
	cells, sum := 0, 0
	run := func(n int, cell, color string) {
		sum += served[n]
		width := (sum*barWidth+calls/2)/max(calls, 1) - cells
		cells += width
		b.WriteString(s.paint(color, strings.Repeat(cell, width)))
	}
	for _, n := range slices.Sorted(maps.Keys(served)) {
		if n > 0 {
			run(n, fmt.Sprint(n%10), fmt.Sprint(91+n%6))
		}
	}
	run(0, "x", red) // nobody served them
	return b.String() + strings.Repeat(" ", barWidth-cells)
}

// short is d in at most 7 columns.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "never"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", ms(d))
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", ms(d))
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}
