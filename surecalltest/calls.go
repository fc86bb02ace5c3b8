package surecalltest

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// counts are what an instance has seen of calls. Health checks are not counted.
type counts struct {
	calls    int64
	byMethod map[string]int
	inFlight int
	peak     int
}

// Calls is how many calls have reached the instance, failing ones included. Each attempt is
// one: what a client adds by retries and hedges is the difference to the calls it was asked
// for. Health checks are not counted, here and below.
func (i *Instance) Calls() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return int(i.counts.calls)
}

// CallsOf is how many of them were of one method, by its full name: "/orders.v1.Orders/Get".
func (i *Instance) CallsOf(method string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts.byMethod[method]
}

// InFlight is how many calls the instance is busy with: arrived, and their handler has not
// returned. Their callers may have left.
func (i *Instance) InFlight() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts.inFlight
}

// Peak is the highest that InFlight has been.
func (i *Instance) Peak() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts.peak
}

// Dials is how many connections to the instance have been made.
func (i *Instance) Dials() int { return int(i.dials.Load()) }

// visit is one call at an instance, with the faults that were set when it came.
type visit struct {
	life   *life
	method string
	call   int64
	queue  *queue
	delay  func(method string, call int64) time.Duration
	fail   func(method string, call int64) error
}

// arrive counts a call. nil means one that is not counted and meets nothing.
func (l *life) arrive(method string) *visit {
	if strings.HasPrefix(method, "/grpc.health.v1.Health/") {
		return nil
	}
	i := l.instance
	i.mu.Lock()
	defer i.mu.Unlock()
	c := &i.counts
	c.calls++
	c.byMethod[method]++
	c.inFlight++
	c.peak = max(c.peak, c.inFlight)
	return &visit{life: l, method: method, call: c.calls, queue: i.queue, delay: i.delay, fail: i.fail}
}

// leave comes before the answer, of which there is none if the instance was killed.
func (v *visit) leave(ctx context.Context) {
	if v.life.isKilled() {
		cut(ctx)
	}
	i := v.life.instance
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counts.inFlight--
}

func (l *life) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	v := l.arrive(info.FullMethod)
	if v == nil {
		return handler(ctx, req)
	}
	defer v.leave(ctx)
	done, err := v.queue.enter(ctx, l.killed)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := v.meet(ctx); err != nil {
		return nil, err
	}
	reply, err := handler(ctx, req)
	v.executed(ctx)
	return reply, err
}

func (l *life) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	v := l.arrive(info.FullMethod)
	if v == nil {
		return handler(srv, ss)
	}
	defer v.leave(ss.Context())
	done, err := v.queue.enter(ss.Context(), l.killed)
	if err != nil {
		return err
	}
	done() // a stream that lasts would keep its worker for ever
	if err := v.meet(ss.Context()); err != nil {
		return err
	}
	err = handler(srv, ss)
	v.executed(ss.Context())
	return err
}

// meet is what a call meets before its handler.
func (v *visit) meet(ctx context.Context) error {
	awake := v.delay == nil || sleep(v.delay(v.method, v.call), ctx.Done(), v.life.killed)
	switch {
	case v.life.isKilled():
		return errKilled
	case !awake:
		return status.FromContextError(context.Cause(ctx)).Err()
	}
	if v.fail != nil {
		return v.fail(v.method, v.call)
	}
	return nil
}

// executed is what it meets after that: its answer may get lost.
func (v *visit) executed(ctx context.Context) {
	i := v.life.instance
	i.mu.Lock()
	lost, last := i.chance(losses, v.call) < i.lose, i.killAfter == 1
	i.killAfter = max(i.killAfter-1, 0)
	i.mu.Unlock()
	var doomed []*life
	if last {
		doomed = i.detach() // before its caller can dial it again
	}
	if lost || last {
		cut(ctx)
	}
	for _, l := range doomed {
		i.cluster.later(l.kill) // which may wait for this very call: see grpc.WaitForHandlers
	}
}

// sleep returns true after d, and false if one of the others is closed before.
func sleep(d time.Duration, left, killed <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-left:
	case <-killed:
	}
	return false
}
