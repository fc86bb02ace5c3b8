package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	startTimeout = 20 * time.Second
	leaveTimeout = 25 * time.Second // what a drain takes at most, and some
)

// process is a server as its parent sees it.
type process struct {
	id      string
	address string
	cmd     *exec.Cmd
	in      io.Closer     // its stdin: when it is closed the server leaves
	exited  chan struct{} // closed with the process
	err     error         // how it ended; written before
	told    sync.Once
	began   time.Time // when it was told to leave
}

// launch starts a server and waits until it is online.
func launch(ctx context.Context, id string, flags []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{id: id, cmd: exec.Command(self, flags...), exited: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = ownGroup()
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	online := make(chan string, 1)
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if address, ok := strings.CutPrefix(lines.Text(), "online "); ok {
				online <- address
			}
		}
		p.err = p.cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case p.address = <-online:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended before it was online: %v", id, p.cmd.ProcessState)
	case <-ctx.Done():
		p.kill()
		return nil, fmt.Errorf("%s: not online: %w", id, ctx.Err())
	}
}

// leave sends SIGTERM and returns when the process has ended, with how long that took.
func (p *process) leave(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	p.told.Do(func() {
		p.began = time.Now()
		p.terminate()
	})
	select {
	case <-p.exited:
		if p.err != nil {
			return 0, fmt.Errorf("%s: %w", p.id, p.err)
		}
		return time.Since(p.began), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s: has not left: %w", p.id, ctx.Err())
	}
}

// kill ends the process at once, and returns when it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}
