//go:build !linux

package surecall

import "syscall"

// setUserTimeout does nothing: only Linux has such a timeout.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
