package consultest

import "syscall"

// dieWithParent makes the kernel kill the agent if the test process is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
