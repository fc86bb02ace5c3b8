package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
)

const startTimeout = 10 * time.Second

// process is a server as its parent sees it.
type process struct {
	id      string
	address string
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string // lines of the server; closed with the process
	asking  sync.Mutex  // one question at a time
	lease   discovery.Lease
}

// launch starts a server and waits until it serves.
func launch(ctx context.Context, id, agent string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{id: id, cmd: exec.Command(self, "-serve", id, "-consul", agent), answers: make(chan string, 16)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = dieWithParent()
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.answers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.answers <- lines.Text()
		}
		_ = p.cmd.Wait() // how a killed process ended is known
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if p.address, err = p.await(ctx, "serving "); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

// ask tells the server to do something and waits until it has.
func (p *process) ask(ctx context.Context, what string) error {
	p.asking.Lock()
	defer p.asking.Unlock()
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		return fmt.Errorf("%s: %s: %w", p.id, what, err)
	}
	answer, err := p.await(ctx, what+": ")
	if err == nil && answer != "ok" {
		err = fmt.Errorf("%s: %s: %s", p.id, what, answer)
	}
	return err
}

// await returns the rest of the next line that begins with prefix. Others are late
// answers that nobody waits for any more.
func (p *process) await(ctx context.Context, prefix string) (string, error) {
	for {
		select {
		case line, ok := <-p.answers:
			if !ok {
				return "", fmt.Errorf("%s has ended", p.id)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s: no answer %q: %w", p.id, prefix, ctx.Err())
		}
	}
}

// health is asked by the registry in memory before each heart-beat. It goes all the way
// to the process: one that is killed or stopped misses its beats, as it would in Consul.
func (p *process) health(ctx context.Context) (discovery.Health, string) {
	if err := p.ask(ctx, "beat"); err != nil {
		<-ctx.Done()
	}
	return discovery.Passing, ""
}

// kill ends the process at once. The kernel closes its connections.
func (p *process) kill() error { return p.cmd.Process.Kill() }

// The rest makes a process the registrar and the lease of itself, for Consul: what the
// parent asks for, the child does.

// Register implements [discovery.Registrar].
func (p *process) Register(ctx context.Context, _ discovery.Registration) (discovery.Lease, error) {
	return p, p.ask(ctx, "register")
}

// Update implements [discovery.Lease].
func (p *process) Update(ctx context.Context, i discovery.Instance) error {
	return p.ask(ctx, fmt.Sprint("weigh ", i.Weight))
}

// Release implements [discovery.Lease].
func (p *process) Release(ctx context.Context) error { return p.ask(ctx, "release") }
