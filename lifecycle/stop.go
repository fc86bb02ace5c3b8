package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// adminTimeout is how long the answers to who waited at the admin endpoint may take.
const adminTimeout = 500 * time.Millisecond

// Stop ends the server for good: it drains, or joins the drain that runs, and then stops
// the extra servers and gRPC and runs the hooks. It returns when no handler runs, with
// what died and which hooks failed, joined. The end of ctx ends all waiting: calls are
// cut off. Further calls join.
func (l *Life) Stop(ctx context.Context) error {
	l.mu.Lock()
	if !l.asked {
		l.asked = true
		if !l.died {
			close(l.ending)
		}
		if l.phase == fresh {
			l.phase = ended
			close(l.started)
		}
		if l.cancelStart != nil {
			l.cancelStart()
		}
		go l.end()
	}
	l.mu.Unlock()
	select {
	case <-l.stopped:
	case <-ctx.Done():
		l.atOnce()
		<-l.stopped
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

// end does all of leaving.
func (l *Life) end() {
	defer close(l.stopped)
	<-l.started
	l.mu.Lock()
	var d *leaving
	if l.phase == running {
		d = l.leave()
	}
	l.mu.Unlock()
	if d != nil {
		<-d.done
	}
	l.mu.Lock()
	l.phase = ended
	wasStarted := l.cancelStart != nil
	l.mu.Unlock()
	if l.server != nil {
		l.stopExtra()
		l.stopGRPC()
	}
	if wasStarted && l.invalid == nil {
		l.runHooks()
	}
	l.closeAll()
	l.log.Info("lifecycle: stopped")
}

// stopExtra shuts the servers beside gRPC down, all at the same time.
func (l *Life) stopExtra() {
	extra, atMost := l.config.Extra, l.config.Drain.Extra
	if len(extra) == 0 {
		return
	}
	_ = l.step("extra servers", fmt.Sprintf("the shutdown of %d server(s)", len(extra)), atMost, func() error {
		ctx, cancel := context.WithTimeout(l.hurry, atMost)
		defer cancel()
		errs := make([]error, len(extra))
		var all sync.WaitGroup
		for i, e := range extra {
			all.Go(func() {
				if err := e.Shutdown(ctx); err != nil {
					errs[i] = fmt.Errorf("%q: %w", e.Name, err)
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})
}

// stopGRPC does steps (f) and (g).
func (l *Life) stopGRPC() {
	atMost := l.config.Drain.Stop
	waitsFor := fmt.Sprintf("callers to follow GOAWAY, and %d call(s) in flight", l.traffic.inFlight())
	_ = l.step("graceful stop", waitsFor, atMost, func() error {
		ctx, cancel := context.WithTimeoutCause(l.hurry, atMost, fmt.Errorf("%v are over", atMost))
		defer cancel()
		_ = l.self.conn.Close()
		l.listener.hangUp() // gRPC would wait for these before it sends GOAWAY
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			l.server.GracefulStop() // GOAWAY: plain callers move too
		}()
		l.traffic.mode.Store(refusing)
		l.stop()
		select {
		case <-gone:
			return nil
		case <-ctx.Done():
		}
		unary, streams := l.InFlight()
		l.log.Warn("lifecycle: cutting calls off, and waiting for their handlers", "unary", unary, "streams", streams, "why", context.Cause(ctx))
		l.cutOff()
		l.server.Stop()
		<-gone // which takes until the last handler has returned
		if unary+streams == 0 {
			return nil
		}
		return fmt.Errorf("%w: %d unary calls and %d streams were cut off", context.Cause(ctx), unary, streams)
	})
}

// runHooks is step (h). All hooks run, whatever became of the start and of the others.
func (l *Life) runHooks() {
	ctx, cancel := context.WithTimeout(l.hurry, l.config.Drain.Hooks)
	defer cancel()
	for _, h := range l.config.Hooks {
		err := l.step("hook: "+h.Name, "the hook to end", l.config.Drain.Hooks, func() error { return h.Run(ctx) })
		if err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, fmt.Errorf("lifecycle: hook %q: %w", h.Name, err))
			l.mu.Unlock()
		}
	}
}

// closeAll closes what a start opened, however far it came, and waits for all that
// serves.
func (l *Life) closeAll() {
	if l.self != nil {
		_ = l.self.conn.Close()
		_ = l.self.Close()
	}
	if l.listener != nil {
		_ = l.listener.Close()
	} else if l.config.Listener != nil {
		_ = l.config.Listener.Close()
	}
	l.closeAdmin()
	l.serving.Wait()
	l.stop()
	l.cutOff()
	l.atOnce()
}
