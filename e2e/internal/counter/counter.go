// Package counter counts in a file that is mapped into memory, so that what a server
// counted outlives its being killed, and a restarted one goes on counting.
package counter

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Counter is what one instance counted, shared by all processes that opened its file.
type Counter struct {
	Received *atomic.Int64 // calls that reached the handler
	Answered *atomic.Int64 // calls that it answered with success

	mapped []byte
}

const size = 16

// Open maps the file at path, and makes it if it does not exist.
func Open(path string) (*Counter, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("counter: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, fmt.Errorf("counter: %w", err)
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("counter: map %s: %w", path, err)
	}
	// A mapping begins at a page, so both words are aligned.
	return &Counter{
		Received: (*atomic.Int64)(unsafe.Pointer(&mapped[0])),
		Answered: (*atomic.Int64)(unsafe.Pointer(&mapped[8])),
		mapped:   mapped,
	}, nil
}

// Close unmaps the file. The counters must not be used afterwards.
func (c *Counter) Close() error { return syscall.Munmap(c.mapped) }
