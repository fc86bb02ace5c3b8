//go:build !unix

package main

import "syscall"

func ownGroup() *syscall.SysProcAttr { return nil }

// terminate closes the server's stdin: this system has no SIGTERM.
func (p *process) terminate() { _ = p.in.Close() }
