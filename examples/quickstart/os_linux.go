package main

import "syscall"

// dieWithParent has the kernel kill a server whose parent ended in whatever way, even
// while the server is stopped. Elsewhere a server ends with its stdin.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
