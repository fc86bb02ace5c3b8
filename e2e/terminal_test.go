package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// terminal is the outer end of a pseudo-terminal, and what was written to it.
type terminal struct {
	outer  *os.File
	closed chan struct{} // when the inner end is

	mu   sync.Mutex
	text []byte
}

// newTerminal opens a pseudo-terminal, and returns its inner end too, for a program.
func newTerminal(t *testing.T, width, height int) (term *terminal, inner *os.File) {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term = &terminal{outer: outer, closed: make(chan struct{})}
	var number, unlock int32
	ioctl(t, outer, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(t, outer, syscall.TIOCGPTN, unsafe.Pointer(&number))
	if inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	term.resize(t, width, height)
	go term.read()
	t.Cleanup(func() {
		_ = inner.Close()
		_ = outer.Close()
		<-term.closed
	})
	return term, inner
}

// ioctl works on a file through its descriptor, which stays Go's own.
func ioctl(t *testing.T, file *os.File, request uintptr, argument unsafe.Pointer) {
	t.Helper()
	conn, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(argument))
	})
	if err != nil || errno != 0 {
		t.Fatalf("ioctl %#x: %v, %v", request, err, errno)
	}
}

// resize changes the size, of which the kernel tells the program.
func (term *terminal) resize(t *testing.T, width, height int) {
	t.Helper()
	size := [4]uint16{uint16(height), uint16(width)}
	ioctl(t, term.outer, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

func (term *terminal) read() {
	defer close(term.closed)
	buffer := make([]byte, 1<<16)
	for {
		n, err := term.outer.Read(buffer)
		term.mu.Lock()
		term.text = append(term.text, buffer[:n]...)
		term.mu.Unlock()
		if err != nil {
			return // the program has ended
		}
	}
}

// written is all that the program has written.
func (term *terminal) written() []byte {
	term.mu.Lock()
	defer term.mu.Unlock()
	return append([]byte(nil), term.text...)
}

var escapes = regexp.MustCompile(`\x1b\[[?0-9;]*[A-Za-z]`)

// lines is what stands on the screen: the last frame that is whole.
func (term *terminal) lines() []string {
	text := string(term.written())
	end := strings.LastIndex(text, "\x1b[J")
	if end < 0 {
		return nil
	}
	frame := text[strings.LastIndex(text[:end], "\x1b[H"):end]
	return strings.Split(strings.ReplaceAll(escapes.ReplaceAllString(frame, ""), "\r", ""), "\n")
}

// httpServer serves handler on loopback, and returns its address.
func httpServer(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}
