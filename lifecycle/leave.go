package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// leaving is one way offline: steps (a) to (e). It can be taken back until gRPC stops.
type leaving struct {
	ctx    context.Context // until it is taken back, or all waiting is to end
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error         // why it did not come to its end; written before done is closed
	lifted bool          // taken back; guarded by the life's mu
	back   chan struct{} // closed when it was taken back and its first try to register ended
}

var (
	errBack   = errors.New("the server was told to come online again")
	errAtOnce = errors.New("told to stop at once")
)

// Drain takes the server offline and returns when it is drained: no call is in flight and
// none comes any more, or the time for that is over (see [Drain]). The process goes on,
// and stays offline until Online or Stop. Further calls join the drain that runs. The end
// of ctx ends only the waiting. While the server warms up, Drain returns at once, and the
// server will not go online by itself.
func (l *Life) Drain(ctx context.Context) error {
	l.mu.Lock()
	switch l.phase {
	case fresh:
		l.mu.Unlock()
		return errors.New("lifecycle: drain: want a server that was started")
	case starting:
		l.held = true
		l.mu.Unlock()
		l.log.Info("lifecycle: will not go online: told to be offline while warming up")
		return nil
	case ended:
		l.mu.Unlock()
		return nil
	}
	d := l.leave()
	l.mu.Unlock()
	select {
	case <-d.done:
		return wrapAs("drain", d.err)
	case <-ctx.Done():
		return wrapAs("drain: it goes on, but this waiting ended", ctx.Err())
	}
}

// Online takes back what Drain did: SERVING is pushed, responses are no longer marked,
// and the server is registered again, all under the same incarnation. A removal that is
// under way is waited for; then Online returns when the first try of each registration
// has ended, well or not, or after 3 s. The end of ctx ends only the waiting. Once Stop
// was called, or a signal came, it is too late.
func (l *Life) Online(ctx context.Context) error {
	l.mu.Lock()
	switch {
	case l.phase == fresh:
		l.mu.Unlock()
		return errors.New("lifecycle: online: want a server that was started")
	case l.phase == ended || l.asked:
		l.mu.Unlock()
		return errors.New("lifecycle: online: too late: the server stops for good")
	case l.phase == starting:
		l.held = false
		l.mu.Unlock()
		return nil
	case l.leaving == nil:
		l.mu.Unlock()
		return nil
	}
	d := l.leaving
	first := !d.lifted
	if first {
		d.lifted = true
		d.cancel(errBack)
		l.traffic.lift()
		l.health.comeBack()
	}
	l.mu.Unlock()
	if first {
		l.log.Info("lifecycle: online again")
		go l.comeBack(d)
	}
	select {
	case <-d.back:
		return nil
	case <-ctx.Done():
		return wrapAs("online: it is, and will be registered, but this waiting ended", ctx.Err())
	}
}

// comeBack registers again after d was taken back, unless the server leaves once more. A
// removal from the registry that is under way would undo a new registration.
func (l *Life) comeBack(d *leaving) {
	defer close(d.back)
	<-d.done
	l.mu.Lock()
	if l.leaving != d {
		l.mu.Unlock()
		return
	}
	l.leaving = nil
	tried := l.register()
	l.mu.Unlock()
	l.await(l.hurry, tried)
}

// leave begins to leave, or joins what has begun. It requires mu, and that the server
// runs.
func (l *Life) leave() *leaving {
	before := l.leaving
	if before != nil && !before.lifted {
		return before
	}
	keepers := l.keepers
	l.keepers = nil
	l.leaving = l.announce()
	go l.drain(l.leaving, before, keepers)
	return l.leaving
}

// announce does steps (a) and (c): nothing can keep it waiting. It requires mu.
func (l *Life) announce() *leaving {
	mode := draining
	if l.config.Drain.RefuseAtOnce {
		mode = refusing
	}
	l.traffic.drain(mode)
	l.health.leave()
	d := &leaving{done: make(chan struct{}), back: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancelCause(l.hurry)
	return d
}

// drain does steps (b), (d) and (e). before is a leaving that was taken back and may
// not have come to its end.
func (l *Life) drain(d, before *leaving, keepers []*keeper) {
	defer close(d.done)
	defer d.cancel(nil)
	if before != nil {
		<-before.done
	}
	l.log.Info("lifecycle: leaving: health is NOT_SERVING and responses are marked", "in_flight", l.traffic.inFlight())
	limits := l.config.Drain
	if len(keepers) > 0 {
		// A failure is told and no reason to stay: without a heart-beat it expires.
		_ = l.step("deregister", fmt.Sprintf("the removal of %d registration(s)", len(keepers)), limits.Deregister, func() error {
			return l.deregister(keepers, limits.Deregister)
		})
	}
	_ = l.step("propagation", "the last caller to learn of it", limits.Propagation, func() error {
		return sleep(d.ctx, limits.Propagation)
	})
	waitsFor := fmt.Sprintf("no call in flight (now %d) and no new one for %v", l.traffic.inFlight(), limits.Quiet)
	err := l.step("adaptive wait", waitsFor, limits.Wait, func() error { return l.settle(d.ctx) })
	if d.ctx.Err() != nil {
		d.err = context.Cause(d.ctx)
		return
	}
	l.log.Info("lifecycle: drained", "in_flight", l.traffic.inFlight(), "in_time", err == nil)
}

// deregister is bounded by itself and by hurry: when the server comes online again, it
// is better to know what became of it.
func (l *Life) deregister(keepers []*keeper, atMost time.Duration) error {
	ctx, cancel := context.WithTimeout(l.hurry, atMost)
	defer cancel()
	errs := make([]error, len(keepers))
	var all sync.WaitGroup
	for i, k := range keepers {
		all.Go(func() { errs[i] = k.end(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// settle is the adaptive wait.
func (l *Life) settle(ctx context.Context) error {
	limits := l.config.Drain
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Wait, fmt.Errorf("%v are over", limits.Wait))
	defer cancel()
	if l.traffic.settle(ctx, limits.Quiet) == nil {
		return nil
	}
	unary, streams := l.InFlight()
	return fmt.Errorf("%w: %d unary calls and %d streams in flight", context.Cause(ctx), unary, streams)
}

func wrapAs(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lifecycle: %s: %w", what, err)
}
