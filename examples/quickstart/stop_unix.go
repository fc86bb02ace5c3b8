//go:build unix

package main

import (
	"context"
	"syscall"
)

// canStop: this system can stop a process.
const canStop = true

// stop freezes the process: its kernel goes on accepting connections and bytes, and
// nobody answers.
func (p *process) stop(context.Context) error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// resume lets a stopped process go on.
func (p *process) resume(context.Context) error { return p.cmd.Process.Signal(syscall.SIGCONT) }
