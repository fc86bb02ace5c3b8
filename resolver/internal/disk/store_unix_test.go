//go:build unix

package disk

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestPipeDoesNotBlock: to open a pipe would wait for ever for its other end.
func TestPipeDoesNotBlock(t *testing.T) {
	s := store(t)
	if err := errors.Join(os.MkdirAll(s.Dir, 0o700), syscall.Mkfifo(s.path(), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(orders, written); err == nil || !strings.Contains(err.Error(), "want a plain file") {
		t.Errorf("error %v", err)
	}
}
