package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/status"
)

// onScreen is how soon the table shows an instance that was killed.
const onScreen = time.Second

// A terminal shows what happens as it does, and is left as it was.
func TestWatchOnATerminal(t *testing.T) {
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{servers: 3, idle: true})
		w := c.watch(t, 120, 20, "consul:///"+service)
		w.await(t, 10*time.Second, "3 instances: 3 eligible")
		for _, want := range []string{"orders  consul:///orders", "3 instances, answered", "● eligible  orders-2", "it makes no calls", "EVENTS"} {
			w.has(t, want)
		}
		killed := time.Now()
		c.servers[1].kill()
		w.await(t, 10*time.Second, "✗ failed")
		took := time.Since(killed)
		t.Logf("the table shows the kill after %v", round(took))
		w.has(t, "3 instances: 1 failed, 2 eligible")
		w.await(t, 10*time.Second, "2 instances: 2 eligible") // its check has expired

		w.resize(t, 60, 8)
		w.awaitThat(t, 5*time.Second, "a table of 8 lines", func(lines []string) bool { return len(lines) <= 8 && widest(lines) <= 60 })

		w.signal(t, syscall.SIGTSTP)
		w.awaitThat(t, 5*time.Second, "the first screen", func([]string) bool { return w.restored() })
		w.signal(t, syscall.SIGCONT)
		w.await(t, 5*time.Second, "2 instances: 2 eligible")

		w.signal(t, os.Interrupt)
		if err := w.wait(t); err != nil {
			t.Errorf("after an interrupt it ended with %v", err)
		}
		if !w.restored() {
			t.Errorf("the terminal is left on the second screen: %q", w.tail())
		}
		if took > onScreen {
			return fmt.Sprintf("the table showed the kill after %v: want %v", round(took), onScreen)
		}
		return ""
	})
}

// An instance that hangs looks well to all who do not ask it.
func TestWatchFindsWhoHangs(t *testing.T) {
	c := newCluster(t, setup{servers: 2, idle: true})
	w := c.watch(t, 120, 20, "consul:///"+service)
	w.await(t, 10*time.Second, "2 instances: 2 eligible")
	c.servers[0].stop(t)
	w.await(t, 10*time.Second, "⊘ ejected")
	w.has(t, "does not answer a probe")

	w.signal(t, syscall.SIGHUP)
	if err := w.wait(t); err != nil || !w.restored() {
		t.Errorf("after a hang-up it ended with %v, and wrote last %q", err, w.tail())
	}
}

// What a pipe gets is JSON, a line for each change, and no escapes.
func TestWatchAndListAsJSON(t *testing.T) {
	c := newCluster(t, setup{servers: 3, idle: true})
	command := c.surecall(t, "watch", "-json", "consul:///"+service)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, command)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	until := func(instance, state string) (read int) {
		for lines.Scan() {
			read++
			for _, i := range parse(t, lines.Bytes()).Instances {
				if i.ID == instance && i.State == state {
					return read
				}
			}
		}
		t.Fatalf("watch has ended: %v", lines.Err())
		return 0
	}
	until("orders-2", "eligible")
	c.servers[1].kill()
	t.Logf("%d lines until it told of the kill", until("orders-2", "failed"))

	list := c.surecall(t, "list", "-json", "consul:///"+service)
	text, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	if s := parse(t, text); len(s.Instances) < 2 || !s.Source.Trusted {
		t.Errorf("list says %+v", s)
	}
}

// The state of a process that makes calls is read from its status page.
func TestWatchOfAStatusPage(t *testing.T) {
	c := newCluster(t, setup{servers: 3, noControl: true})
	page := httpServer(t, surecall.StatusHandler(c.client))
	w := c.watch(t, 160, 24, page)
	w.await(t, 10*time.Second, "3 instances: 3 eligible")
	w.has(t, " · budget ")
	// A few calls hang at each stop before it is noticed; those that may be are made again
	// elsewhere. Once it is chance whether there is such a call among them.
	retried := func() bool { return strings.Contains(strings.Join(w.lines(), "\n"), " retried (") }
	for round := 0; !retried(); round++ {
		if round == 10 {
			t.Fatalf("nothing was retried in %d hangs; the screen shows\n%s", round, strings.Join(w.lines(), "\n"))
		}
		c.servers[1].stop(t)
		w.await(t, 10*time.Second, "⊘ ejected")
		c.servers[1].cont(t)
		w.await(t, 10*time.Second, "3 instances: 3 eligible")
	}
	c.servers[1].kill() // which need not meet a call under way
	w.await(t, 10*time.Second, "✗ failed")
	c.stop()
}

func parse(t *testing.T, text []byte) status.Status {
	t.Helper()
	var document struct{ Clients []status.Status }
	if err := json.Unmarshal(text, &document); err != nil || len(document.Clients) != 1 {
		t.Fatalf("%v, %d clients: want JSON with one; it is\n%s", err, len(document.Clients), text)
	}
	return document.Clients[0]
}

// surecall is the program, with the cluster's agent.
func (c *cluster) surecall(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := doctorBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "CONSUL_HTTP_ADDR=" + c.agent.Addr, "TERM=xterm-256color", "LANG=C.UTF-8"}
	cmd.Stderr = os.Stderr
	return cmd
}

// start starts a program that ends with the test at the latest.
func start(t *testing.T, cmd *exec.Cmd) (wait func() error) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = wait()
	})
	return wait
}

// watched is a watch on a terminal.
type watched struct {
	*terminal
	cmd  *exec.Cmd
	wait func(*testing.T) error
}

// watch runs the program on a terminal of its own.
func (c *cluster) watch(t *testing.T, width, height int, target string) *watched {
	t.Helper()
	term, program := newTerminal(t, width, height)
	cmd := c.surecall(t, "watch", target)
	cmd.Stdin, cmd.Stdout = program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ended := start(t, cmd)
	_ = program.Close()
	return &watched{term, cmd, func(t *testing.T) error {
		t.Helper()
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		err := ended()
		<-term.closed
		return err
	}}
}

func (w *watched) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := w.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (w *watched) await(t *testing.T, timeout time.Duration, text string) {
	t.Helper()
	w.awaitThat(t, timeout, text, func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), text) })
}

func (w *watched) awaitThat(t *testing.T, timeout time.Duration, what string, ok func(lines []string) bool) {
	t.Helper()
	for begin := time.Now(); !ok(w.lines()); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > timeout {
			t.Fatalf("waited %v for %q; the screen shows\n%s", timeout, what, strings.Join(w.lines(), "\n"))
		}
	}
}

func (w *watched) has(t *testing.T, text string) {
	t.Helper()
	if screen := strings.Join(w.lines(), "\n"); !strings.Contains(screen, text) {
		t.Errorf("want %q on the screen:\n%s", text, screen)
	}
}

func widest(lines []string) (columns int) {
	for _, l := range lines {
		columns = max(columns, len([]rune(l)))
	}
	return columns
}

// restored reports whether what the program told the terminal has brought back the first
// screen, the cursor and the wrapping of lines.
func (w *watched) restored() bool {
	text := w.written()
	for on, off := range map[string]string{"\x1b[?1049h": "\x1b[?1049l", "\x1b[?25l": "\x1b[?25h", "\x1b[?7l": "\x1b[?7h"} {
		if bytes.LastIndex(text, []byte(on)) > bytes.LastIndex(text, []byte(off)) {
			return false
		}
	}
	return true
}

func (w *watched) tail() []byte {
	text := w.written()
	return text[max(0, len(text)-100):]
}
