// Package exampletest builds and runs the example programs as a reader does, and waits
// for what they print.
package exampletest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait, on machines that are busy too.
const patience = 60 * time.Second

// Build compiles the program in dir and returns the binary's path.
func Build(t testing.TB, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, dir).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", dir, err, out)
	}
	return binary
}

// Process is a running program. Its methods are for one goroutine.
type Process struct {
	cmd  *exec.Cmd
	next int // the first line that no Await has seen

	mu    sync.Mutex
	lines []string // of stdout and stderr
	ended bool
	err   error         // what it ended with
	news  chan struct{} // holds a token after each line
}

// Start runs a program, with env added to the environment. It is killed with the test.
func Start(t testing.TB, env []string, binary string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(binary, args...), news: make(chan struct{}, 1)}
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in // one writer: lines stay whole
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-done
	})
	go func() {
		err := p.cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		_ = in.Close()
	}()
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.add(lines.Text(), false)
		}
		p.add("", true)
	}()
	return p
}

func (p *Process) add(line string, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended = last; !last {
		p.lines = append(p.lines, line)
	}
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// Await returns the next line that has all of parts in it. Lines before it are passed
// over for good.
func (p *Process) Await(t testing.TB, parts ...string) string {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		line, found, ended := p.find(parts)
		if found {
			return line
		}
		if ended {
			t.Fatalf("ended without a line with %q; it printed:\n%s", parts, p.Output())
		}
		select {
		case <-p.news:
		case <-timer.C:
			t.Fatalf("no line with %q within %v; it printed:\n%s", parts, patience, p.Output())
		}
	}
}

func (p *Process) find(parts []string) (line string, found, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.next < len(p.lines) {
		line = p.lines[p.next]
		p.next++
		if hasAll(line, parts) {
			return line, true, false
		}
	}
	return "", false, p.ended
}

func hasAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v; it printed:\n%s", s, err, p.Output())
	}
}

// Wait returns what the program ended with.
func (p *Process) Wait(t testing.TB) error {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		p.mu.Lock()
		ended, err := p.ended, p.err
		p.mu.Unlock()
		if ended {
			return err
		}
		select {
		case <-p.news:
		case <-timer.C:
			t.Fatalf("not ended within %v; it printed:\n%s", patience, p.Output())
		}
	}
}

// Output returns all that was printed until now.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Value returns the value of key in a line that slog's text handler wrote.
func Value(line, key string) string {
	_, rest, _ := strings.Cut(line, " "+key+"=")
	value, _, _ := strings.Cut(rest, " ")
	return value
}
