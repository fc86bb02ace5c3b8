package pipe

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen()
		echoed := make(chan error)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, err = io.Copy(c, c)
				_ = c.Close()
			}
			echoed <- err
		}()
		c, err := l.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 2)
		if _, err := c.Write([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "hi" {
			t.Errorf("got %q: %v", answer, err)
		}
		_ = c.Close()
		if err := <-echoed; err != nil {
			t.Error(err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.DialContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with nobody to accept: %v", err)
		}
		_ = l.Close()
		_ = l.Close()
		if _, err := l.DialContext(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}
