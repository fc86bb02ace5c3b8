package surecall

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// shadowStream is a stream of gRPC's own, and what decides beside it.
type shadowStream struct {
	grpc.ClientStream
	call     clientStream // of it, what judges: it sends and receives nothing
	method   *method
	rejected error       // why it would have been; nil: it would not
	flows    atomic.Bool // a message was received
	over     sync.Once
}

// shadowStream opens a stream as plain gRPC does.
func (c *core) shadowStream(ctx context.Context, state *policies, name string, o opener, now time.Time) (grpc.ClientStream, error) {
	asked := shadowAsked(rpc{opts: o.opts})
	asked.trace.begin(name, now)
	if observer := state.settings.observer; observer != nil {
		ctx = asked.observedBy(ctx, observer, c.service, name, now)
	}
	m := c.shadowed(ctx, state, name, asked.policies)
	s := &shadowStream{method: m, call: clientStream{asked: asked, opener: o}}
	s.call.tries = c.shadowTries(ctx, state, m, &asked, m.streams, now)
	s.call.tries.method = m.shadow.slotless // streams take no slots of the methods'
	s.rejected = s.call.rehearse(m.shadow, now)
	t := s.call.begin(nil)
	if s.rejected == nil {
		s.takeSlot(t)
	}
	s.call.observed(&t.attempt, t.note)
	opts := append(o.opts[:len(o.opts):len(o.opts)], grpc.OnFinish(s.finished))
	var err error
	if s.ClientStream, err = o.streamer(&t.attempt, o.desc, o.conn, name, opts...); err != nil {
		t.freeSlot()
		s.end(err)
		return s.ClientStream, err
	}
	return s, nil
}

// takeSlot takes the slot that the stream would hold, if it would get one at once.
func (s *shadowStream) takeSlot(t *streamAttempt) {
	l := s.call.state.methods.limits.streams.Limiter
	if l == nil {
		return
	}
	switch {
	case l.Acquire(s.method.shadow.now, s.call.ask(), time.Now()) == nil:
		t.slot.Store(l)
	case l.Queues():
		s.method.shadow.waits.Add(1)
	default:
		s.method.shadow.reject(ErrConcurrency)
		s.rejected = ErrConcurrency
	}
}

// SendMsg is gRPC's. An error that is not io.EOF ends the stream: who is told of it need
// not receive any more.
func (s *shadowStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err != nil && err != io.EOF {
		s.end(err)
	}
	return err
}

// RecvMsg is gRPC's.
func (s *shadowStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch {
	case err != nil || !s.call.opener.desc.ServerStreams:
		s.end(err)
	case !s.flows.Load():
		s.flows.Store(true)
		s.call.alive(&s.call.first, time.Now())
		s.leave(nil)
	}
	return err
}

// finished is told by gRPC that the stream is over, before that knows all about its end.
func (s *shadowStream) finished(err error) {
	s.call.first.freeSlot()
	if err == nil || s.call.ctx.Err() != nil || status.Code(err) == codes.Canceled {
		s.end(err) // the caller may never ask
	}
}

// end judges the stream, and decides what would have followed, once.
func (s *shadowStream) end(err error) {
	s.over.Do(func() {
		if err == io.EOF {
			err = nil
		}
		would, t, now := s.method.shadow, &s.call.first, time.Now()
		if s.call.deadlineOurs && now.After(s.call.deadline) {
			would.expired.Add(1)
		}
		s.call.judge(t, err)
		if err != nil {
			would.failed.Add(1)
		}
		switch {
		case s.rejected != nil:
		case t.attempt.WouldRefuse():
			would.reject(ErrConcurrency)
		case err != nil && !s.flows.Load():
			if _, again := s.call.next(&t.attempt, err, false, false, now); again {
				would.retry(int(known(codeOf(err))), true)
			}
		}
		s.leave(err)
		s.call.core.endShadow(s.method, &s.call.tries, &s.call.asked, err)
	})
}

// leave tells throttle and method breaker how the call went, when a stream that is acted on
// does: by its first message, or its end.
func (s *shadowStream) leave(err error) {
	s.call.left.Do(func() { s.call.leaveShadow(&s.call.first.attempt, s.rejected, err) })
}
