//go:build linux || darwin || freebsd || netbsd || dragonfly

package main

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// sizeOf returns the size of a terminal, in characters; ok is false if file is none.
func sizeOf(file *os.File) (width, height int, ok bool) {
	conn, err := file.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var size struct{ rows, columns, _, _ uint16 }
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	})
	if err != nil || errno != 0 {
		return 0, 0, false
	}
	return known(size.columns, "COLUMNS", 80), known(size.rows, "LINES", 24), true
}

// known is a size: the terminal's own, or if it does not know it, that of the environment.
func known(size uint16, variable string, otherwise int) int {
	if size > 0 {
		return int(size)
	}
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// terminalSignals are resized, stop (Ctrl-Z) and go on.
func terminalSignals() []os.Signal {
	return []os.Signal{syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT}
}

func stops(sig os.Signal) bool { return sig == syscall.SIGTSTP }

func continues(sig os.Signal) bool { return sig == syscall.SIGCONT }

func stopSelf() error { return syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
