package main

import (
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/surecall/surecall/cmd/surecall/internal/table"
)

// What a terminal is told. Lines are not wrapped: one that it holds wider than we do must
// not push the others away.
const (
	enter     = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the other screen, no cursor, no wrapping
	leave     = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home      = "\x1b[H"
	endOfLine = "\x1b[K"
	endOfAll  = "\x1b[J"
)

// stopTimeout is how long a process may take to be stopped by itself.
const stopTimeout = time.Second

// liveScreen draws each view over the one before, on the terminal's second screen, and
// leaves the first one as it was.
type liveScreen struct {
	terminal *os.File
	options  table.Options
	notified chan os.Signal
	entered  bool
}

func newLiveScreen(terminal *os.File, o table.Options) *liveScreen {
	s := &liveScreen{terminal: terminal, options: o, notified: make(chan os.Signal, 4)}
	signal.Notify(s.notified, terminalSignals()...)
	return s
}

func (s *liveScreen) show(v view, now time.Time) error {
	if width, height, ok := sizeOf(s.terminal); ok {
		s.options.Width, s.options.Height = width, height
	}
	return s.write(frame(v.draw(s.options, now)))
}

// frame makes of lines what draws them over others, without a line break at the end, which
// would scroll.
func frame(lines string) string {
	lines = strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", endOfLine+"\r\n")
	return home + lines + endOfLine + endOfAll
}

// write writes text at once, on the second screen.
func (s *liveScreen) write(text string) error {
	if !s.entered {
		s.entered = true
		text = enter + text
	}
	_, err := s.terminal.WriteString(text)
	return err
}

func (s *liveScreen) signals() <-chan os.Signal { return s.notified }

// handle draws anew after the terminal was resized, and stops the process when it is told
// to, with the terminal as it was.
func (s *liveScreen) handle(sig os.Signal) error {
	if !stops(sig) {
		return nil
	}
	s.restore()
	if err := stopSelf(); err != nil {
		return err
	}
	// A process is stopped a little after it has asked for it, and nothing may be drawn until
	// then. One that cannot be stopped, the first of a container, goes on after a while.
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	for {
		select {
		case sig := <-s.notified:
			if continues(sig) {
				return nil
			}
		case <-timer.C:
			return nil
		}
	}
}

func (s *liveScreen) restore() {
	if s.entered {
		_, _ = s.terminal.WriteString(leave)
	}
	s.entered = false
}

func (s *liveScreen) close() {
	signal.Stop(s.notified)
	s.restore()
}
