//go:build unix

package main

import "syscall"

// ownGroup keeps Ctrl-C for the parent, which ends its servers itself.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// terminate is what a deployment does. A process that has ended is fine with it.
func (p *process) terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }
