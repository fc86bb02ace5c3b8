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

// Items bounds the items that can be placed: 0 to Items-1.
const Items = 1 << 20

// Counter is what one instance counted, shared by all processes that opened its file.
type Counter struct {
	*counts
	mapped []byte
}

// Calls counts those of one method.
type Calls struct {
	Received atomic.Int64 // reached the handler
	Answered atomic.Int64 // ended by it with success
}

// counts is the layout of the file.
type counts struct {
	Get, Placed, Watch Calls
	items              [Items]atomic.Uint32 // how often each was placed
}

// Open maps the file at path, and makes it if it does not exist. It takes the disk no
// more than what was counted.
func Open(path string) (*Counter, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("counter: %w", err)
	}
	defer f.Close()
	const size = int(unsafe.Sizeof(counts{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, fmt.Errorf("counter: %w", err)
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("counter: map %s: %w", path, err)
	}
	// A mapping begins at a page, so all words are aligned.
	return &Counter{(*counts)(unsafe.Pointer(&mapped[0])), mapped}, nil
}

// Place notes that item n was placed, if there can be such an item.
func (c *Counter) Place(n int) bool {
	if n < 0 || n >= Items {
		return false
	}
	c.items[n].Add(1)
	return true
}

// Times returns how often item n was placed.
func (c *Counter) Times(n int) int { return int(c.items[n].Load()) }

// Received returns how many calls of all methods reached the handlers.
func (c *Counter) Received() int64 {
	return c.Get.Received.Load() + c.Placed.Received.Load() + c.Watch.Received.Load()
}

// Close unmaps the file. The counter must not be used afterwards.
func (c *Counter) Close() error { return syscall.Munmap(c.mapped) }
