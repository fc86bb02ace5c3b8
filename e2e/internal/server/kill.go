package main

import (
	"context"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// killer is a log in which the death of the process may be written: it kills the process
// a while after the line whose text is at.
type killer struct {
	slog.Handler
	at    string
	after time.Duration
}

// Handle implements [slog.Handler].
func (k killer) Handle(ctx context.Context, r slog.Record) error {
	if k.at != "" && r.Message == k.at {
		if k.after == 0 {
			die()
		}
		time.AfterFunc(k.after, die)
	}
	return k.Handler.Handle(ctx, r)
}

// die is a crash: nothing of the process runs any more, no connection is closed by it.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it arrives
}

// WithAttrs implements [slog.Handler].
func (k killer) WithAttrs(attrs []slog.Attr) slog.Handler {
	return killer{k.Handler.WithAttrs(attrs), k.at, k.after}
}
