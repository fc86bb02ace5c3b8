package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/surecall/surecall/e2e/internal/counter"
)

// startTimeout bounds how long a server may take to be registered.
const startTimeout = time.Minute

// leaveTimeout bounds how long one may take to leave.
const leaveTimeout = 30 * time.Second

// server is one server process. Restarting makes a new one with the same spec.
type server struct {
	spec
	address   string // where it serves
	admin     string
	servingAt time.Time // when it said so
	process   *os.Process
	exited    chan struct{}
	log       string
}

// spec is what a server is started with. A zero field means the program's default.
type spec struct {
	id      string
	agent   string   // host:port of the agent that it registers with; empty means the cluster's
	address string   // to serve at; empty means any free port
	weight  int      // empty means 100, so that a weight can be lowered too
	within  string   // the network namespace that it runs in; empty means that of the tests
	flags   []string // further ones
	counter *counter.Counter
}

// launch starts the process, prints the flags that the scenario adds, and waits until it
// is registered.
func (c *cluster) launch(t *testing.T, s spec) *server {
	t.Helper()
	if len(s.flags) > 0 {
		t.Logf("%s: flags %v", s.id, s.flags)
	}
	if s.weight == 0 {
		s.weight = 100
	}
	args := append([]string{
		"-consul", cmp.Or(s.agent, c.registerVia, c.agent.Addr), "-token", c.token, "-id", s.id,
		"-weight", fmt.Sprint(s.weight), "-counters", filepath.Join(c.dir, s.id+".count"),
	}, s.flags...)
	if s.address != "" {
		args = append(args, "-address", s.address)
	}
	var err error
	if s.counter == nil {
		if s.counter, err = counter.Open(filepath.Join(c.dir, s.id+".count")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.counter.Close() })
	}
	srv := &server{spec: s, log: filepath.Join(c.dir, s.id+".log"), exited: make(chan struct{})}
	logFile, err := os.OpenFile(srv.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command := append([]string{binaries.server}, args...)
	if s.within != "" {
		command = append([]string{"ip", "netns", "exec", s.within}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = in, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the process dies with the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is for the scenario to judge
			close(srv.exited)
		}
	}()
	err = <-started
	_ = in.Close()
	if err != nil {
		t.Fatal(err)
	}
	srv.process = cmd.Process
	t.Cleanup(srv.kill)
	if err := srv.ready(out); err != nil {
		text, _ := os.ReadFile(srv.log)
		t.Fatalf("start %s: %v; its log:\n%s", s.id, err, text)
	}
	return srv
}

// ready reads what the program says until it is registered.
func (s *server) ready(out *os.File) error {
	defer out.Close()
	if err := out.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch words := strings.Fields(lines.Text()); words[0] {
		case "serving":
			s.servingAt, s.address, s.admin = time.Now(), words[1], words[2]
		case "registered":
			return nil
		}
	}
	return fmt.Errorf("not registered within %v", startTimeout)
}

// logged returns when the server first logged the message, by the clock of this machine,
// rounded down to a millisecond.
func (s *server) logged(t *testing.T, message string) time.Time {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		stamp, rest, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if !strings.Contains(rest, fmt.Sprintf("msg=%q", message)) {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Fatalf("%s logged %q: %v", s.id, line, err)
		}
		return at
	}
	t.Fatalf("%s never logged %q; its log:\n%s", s.id, message, text)
	return time.Time{}
}

// kill ends the process at once, whatever state it is in, and waits for its end.
func (s *server) kill() {
	select {
	case <-s.exited:
	default:
		_ = s.process.Kill()
		<-s.exited
	}
}

// killTogether kills several processes with as little time between them as possible.
func killTogether(servers ...*server) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(s.kill)
	}
	all.Wait()
}

// stop freezes the process: its kernel accepts connections and bytes, nobody answers.
func (s *server) stop(t *testing.T) { s.signal(t, syscall.SIGSTOP) }

// cont lets a stopped process go on.
func (s *server) cont(t *testing.T) { s.signal(t, syscall.SIGCONT) }

// leave asks the process to go, and waits until it has.
func (s *server) leave(t *testing.T) {
	t.Helper()
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
}

// leaveTogether is leave for several at once.
func leaveTogether(t *testing.T, servers ...*server) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() {
			if err := s.end(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func (s *server) end() error {
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM to %s: %w", s.id, err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(leaveTimeout):
		return fmt.Errorf("%s did not end within %v of SIGTERM", s.id, leaveTimeout)
	}
}

func (s *server) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.process.Signal(sig); err != nil {
		t.Fatalf("%v to %s: %v", sig, s.id, err)
	}
}

// post calls the program's admin address.
func (s *server) post(t *testing.T, path string) {
	t.Helper()
	do(t, http.MethodPost, "http://"+s.admin+path)
}

// do makes an HTTP request that has to succeed.
func do(t *testing.T, method, url string) {
	t.Helper()
	if err := request(method, url); err != nil {
		t.Fatal(err)
	}
}

func request(method, url string) error {
	_, err := ask(method, url)
	return err
}

// ask makes an HTTP request and returns its answer.
func ask(method, url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // the server closes a connection that idles, maybe just now
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, body)
	}
	return string(body), nil
}
