package consultest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// Options say how an agent differs from the plain one: a single server in development
// mode that forgets everything when it stops.
type Options struct {
	// Keep stores the agent's data in its directory, so that it survives a restart.
	// Such an agent elects itself leader, which takes seconds instead of milliseconds.
	Keep bool
	// Config is merged into the agent's configuration, for example {"acl": …}.
	Config map[string]any
	// Token is sent when waiting for the agent to be usable. Default none.
	Token string

	role role // in a cluster
}

// Agent is one running Consul agent. Its methods are not safe for concurrent use.
type Agent struct {
	// Addr is the address of its HTTP interface, the same for its whole life.
	Addr string

	bin, dir string
	options  Options
	ports    ports
	process  *os.Process
	exited   chan struct{} // closed when the process is gone
}

const (
	readyTimeout = 30 * time.Second
	portRetries  = 3 // a free port may be taken before the agent binds it
)

// New starts an agent from the binary bin, with its files in dir, and returns when it
// answers and has a leader.
func New(bin, dir string, options Options) (*Agent, error) {
	a := &Agent{bin: bin, dir: dir, options: options}
	var err error
	for range portRetries {
		if err = a.reserve(); err != nil {
			return nil, err
		}
		if err = a.configure(); err != nil {
			return nil, err
		}
		if err = a.start(); err == nil {
			return a, nil
		}
		a.Kill()
	}
	return nil, err
}

// Client returns a client of the agent with the token of its options.
func (a *Agent) Client() (*api.Client, error) {
	return api.NewClient(&api.Config{Address: a.Addr, Token: a.options.Token})
}

// Stop ends the agent. A second call does nothing.
func (a *Agent) Stop() { a.Kill() }

// Running tells whether the agent's process was started and not ended; a paused one runs.
func (a *Agent) Running() bool { return a.process != nil }

// Kill ends the agent without letting it say goodbye, and waits until it is gone.
func (a *Agent) Kill() {
	if a.process == nil {
		return
	}
	_ = a.process.Signal(syscall.SIGCONT)
	_ = a.process.Kill()
	<-a.exited
	a.process = nil
}

// Pause stops the agent's process: it accepts connections and answers nothing. Stopping
// takes a moment, which Pause awaits.
func (a *Agent) Pause() error {
	if err := a.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	client, err := a.Client()
	if err != nil {
		return err
	}
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
		cancel()
		if err != nil {
			return nil
		}
	}
	return errors.New("consultest: the agent still answers after SIGSTOP")
}

// Resume lets a paused agent go on.
func (a *Agent) Resume() error { return a.signal(syscall.SIGCONT) }

func (a *Agent) signal(s syscall.Signal) error {
	if a.process == nil {
		return errors.New("consultest: the agent is not running")
	}
	return a.process.Signal(s)
}

// Restart kills the agent if it runs, and starts it again on the same ports. keepData
// false removes what it had stored; without [Options].Keep nothing is stored anyway.
func (a *Agent) Restart(keepData bool) error {
	a.Kill()
	if !keepData {
		if err := os.RemoveAll(filepath.Join(a.dir, "data")); err != nil {
			return fmt.Errorf("consultest: %w", err)
		}
	}
	return a.start()
}

// start runs the process and waits until it is usable.
func (a *Agent) start() error {
	if err := a.launch(); err != nil {
		return err
	}
	return a.await()
}

// launch runs the process.
func (a *Agent) launch() error {
	args := []string{"agent", "-config-file", filepath.Join(a.dir, "config.json")}
	if !a.options.Keep && a.options.role.kind == alone {
		args = append(args, "-dev")
	}
	log, err := os.OpenFile(filepath.Join(a.dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("consultest: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(a.bin, args...)
	cmd.Env = []string{"HOME=" + a.dir, "PATH=" + os.Getenv("PATH")} // nothing of the machine's CONSUL_*
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if err := a.spawn(cmd); err != nil {
		return fmt.Errorf("consultest: %w", err)
	}
	return nil
}

// await waits until the agent is usable.
func (a *Agent) await() error {
	if err := a.ready(); err != nil {
		return fmt.Errorf("consultest: %w; its log ends:\n%s", err, a.LogTail())
	}
	return nil
}

// spawn starts cmd and sees to it until it ends, on one thread: on Linux the process
// dies with the thread that started it.
func (a *Agent) spawn(cmd *exec.Cmd) error {
	started := make(chan error)
	exited := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed on purpose, or found out by ready
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	a.process, a.exited = cmd.Process, exited
	return nil
}

// ready waits until a leader answers a consistent read. An elected leader alone is
// not enough: the agent answers before it knows one.
func (a *Agent) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	client, err := a.Client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		query := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
		nodes, _, err := client.Catalog().Nodes(query)
		if err == nil && len(nodes) > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-a.exited:
			return errors.New("the agent ended")
		case <-ctx.Done():
			return fmt.Errorf("the agent is not usable after %v: %w", readyTimeout, err)
		}
	}
}

// LogTail returns the end of the agent's log.
func (a *Agent) LogTail() string {
	text, err := os.ReadFile(filepath.Join(a.dir, "agent.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
