package surecall

import (
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/limit"
)

// stream is the path of a streaming call. It differs from that of a unary call where a
// stream does:
//
//   - It has a deadline only if ForMethod gives it one: a stream may live for hours.
//   - It has no attempt timeout: a first message may take for ever, and mean nothing by it.
//   - It is retried until its first message is received, and what it sent until then is
//     sent again (stream_message.go): what follows on a stream cannot be repeated without
//     knowing what it means.
//   - It is judged by its end, and never a half-open trial: that end may be hours away.
//   - Its length says nothing about latency.
func (c *core) stream(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, name string, streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	state, now := c.state.Load(), time.Now()
	if state.dry != nil {
		return c.shadowStream(ctx, state, name, opener{desc, conn, streamer, opts}, now)
	}
	s := &clientStream{opener: opener{desc, conn, streamer, nil}, cancel: func() {}}
	s.changed.L = &s.mu
	s.opener.opts = s.outlets.take(s.asked.read(opts))
	s.asked.trace.begin(name, now)
	if o := state.settings.observer; o != nil {
		ctx = s.asked.observedBy(ctx, o, c.service, name, now)
	}
	if c.header != nil {
		s.asked.policies = c.header.over(ctx, s.asked.policies)
	}
	m, err := state.methods.under(name, s.asked.policies)
	if err != nil {
		return nil, c.end(state, nil, name, &s.asked, err, now)
	}
	deadline, has := ctx.Deadline()
	ours := !has && m.streams > 0
	if ours {
		deadline, has = now.Add(m.streams), true
		ctx, s.cancel = context.WithDeadline(ctx, deadline)
	}
	s.tries = tries{
		core: c, state: state, method: m,
		ctx: ctx, began: now, deadline: deadline, hasDeadline: has, deadlineOurs: ours,
		route: routeOf(ctx), waits: s.asked.waits, how: s.asked.story(),
	}
	if _, err = s.enter(now); err != nil {
		s.cancel()
		return nil, c.end(state, m, name, &s.asked, s.over(err, s.asked.trace), now)
	}
	if s.current, err = s.open(nil, nil); err != nil {
		return nil, s.finish(s.current, err)
	}
	return s, nil
}

// clientStream is one streaming call with all its attempts. It is one allocation, the
// first attempt included. Its methods may be called as gRPC allows: one goroutine sends
// while another receives.
type clientStream struct {
	tries
	opener  opener
	asked   asked
	outlets outlets
	cancel  context.CancelFunc

	// settled means that current will not change: it is then used without mu.
	settled atomic.Bool

	// mu is never held while gRPC is called.
	mu        sync.Mutex
	changed   sync.Cond      // any of what follows
	current   *streamAttempt // the attempt that counts
	committed bool           // no other will follow it
	unkept    bool           // because not all that was sent is there to be sent again
	sending   bool           // the caller is sending on current
	receiving bool           // someone is receiving from current, or sees to what follows it
	following bool           // what follows current is being opened
	replaying bool           // current is being sent what its predecessors were
	buffer    replayBuffer   // what was sent; empty once committed
	peeked    []byte         // a message that a sender had to receive
	final     error          // how the call ended; nil: it has not, or as gRPC says

	flows bool      // a message was received; used by who receives only
	left  sync.Once // the gate is told
	told  sync.Once // the caller is
	first streamAttempt
}

// opener is what gRPC wants back to open a stream.
type opener struct {
	desc     *grpc.StreamDesc
	conn     *grpc.ClientConn
	streamer grpc.Streamer
	opts     []grpc.CallOption
}

// streamAttempt is one attempt of a streaming call.
type streamAttempt struct {
	grpc.ClientStream
	attempt balancer.Attempt
	named   bool          // its instance can say that it executed nothing
	judged  sync.Once     // by its end
	note    *AttemptTrace // nil: nobody asked
	slot    atomic.Pointer[limit.Limiter]
	brought outcome
	opts    [5]grpc.CallOption // room for its options: a stub gives one, and we four
}

// open opens the stream, on another instance for as long as that fails and another
// attempt may follow. prior is the attempt before, which ended with err; nil: none. If the
// stream cannot be opened, open returns the attempt and the error that count.
func (s *clientStream) open(prior *streamAttempt, err error) (*streamAttempt, error) {
	for {
		t := s.begin(prior)
		failed := s.try(t)
		if prior != nil && t.attempt.Instance() != nil {
			s.method.count.retry(int(known(codeOf(err))))
		}
		if failed == nil {
			return t, nil
		}
		t.freeSlot()
		s.judge(t, failed)
		if prior != nil && isRejection(failed) {
			return prior, err // something was sent: a rejection would deny that
		}
		if !s.again(t, failed) {
			return t, failed
		}
		prior, err = t, failed
	}
}

// begin makes the next attempt.
func (s *clientStream) begin(prior *streamAttempt) *streamAttempt {
	t := &s.first
	if prior != nil {
		t = &streamAttempt{}
		t.attempt.Prior = &prior.attempt
	}
	s.attempts++
	at := &t.attempt
	at.Context, at.Fleet, at.Stream, at.WaitForReady, at.Rotate = s.ctx, s.core.fleet, true, s.waits, s.trial
	at.Route = s.route
	if s.state.settings.instanceStreams != nil {
		at.Priority = limit.FromContext(s.ctx)
	}
	if s.how != nil {
		t.note = &AttemptTrace{Number: int(s.attempts), Began: time.Since(s.began)}
	}
	if s.executed {
		at.Context = metadata.AppendToOutgoingContext(s.ctx, wire.Attempt, strconv.Itoa(int(s.attempts)))
	}
	return t
}

// try opens the stream as t.
func (s *clientStream) try(t *streamAttempt) (err error) {
	if err := s.takeSlot(t); err != nil {
		return err
	}
	s.observed(&t.attempt, t.note)
	t.ClientStream, err = s.opener.streamer(&t.attempt, s.opener.desc, s.opener.conn, s.method.name, s.options(t)...)
	t.named = t.attempt.Named()
	return err
}

// again decides whether an attempt follows t, which ended with err, after having waited
// if it must.
func (s *clientStream) again(t *streamAttempt, err error) bool {
	wait, again := s.next(&t.attempt, err, false, false, time.Now())
	return again && pause(s.ctx, wait) == nil
}

// finish ends the call with t, which counts. It returns what the caller gets.
func (s *clientStream) finish(t *streamAttempt, err error) error {
	s.judge(t, err)
	if err != nil && err != io.EOF {
		err = s.named(s.core.named(s.ctx, s.method.name, &t.attempt, err), s.method.streams)
	}
	err = s.deliver(t, err) // looks at whose end it was
	s.cancel()
	return err
}

// judge judges the instance by the attempt's end, once.
func (s *clientStream) judge(t *streamAttempt, err error) {
	t.judged.Do(func() {
		at, now := &t.attempt, time.Now()
		if err == io.EOF {
			err = nil
		}
		if s.local = err != nil && isLocal(at, err); t.note == nil && err != nil {
			t.note = s.noted(at, int(s.attempts))
		}
		if at.Instance() != nil {
			elapsed := time.Duration(s.core.fleet.At(now) - at.Picked())
			verdict := s.verdict(t, err, elapsed, now)
			at.Judge(verdict)
			if t.note != nil {
				t.note.Took, t.note.Verdict = elapsed, verdict
			}
		}
		s.traced(at, t.note, err)
	})
}

// verdict is what the attempt's end means for its instance. What it means for others is
// told on the way.
func (s *clientStream) verdict(t *streamAttempt, err error, elapsed time.Duration, now time.Time) breaker.Verdict {
	at := &t.attempt
	verdict := breaker.Success
	if err != nil {
		if isLocal(at, err) {
			return breaker.Ignored
		}
		verdict = s.state.settings.classify(breaker.Outcome{
			Code:          status.Code(err),
			NeverExecuted: !at.Executed(),
			Canceled:      at.Err() == context.Canceled,
			Pushback:      at.Answered() && s.core.yields(at, err, s.core.fleet.At(now)),
			Elapsed:       elapsed,
		})
	}
	switch verdict {
	case breaker.Success:
		s.alive(t, now)
	case breaker.Failure, breaker.RatioFailure:
		if service := s.state.service; service != nil && !(verdict == breaker.RatioFailure && at.Answered()) {
			service.Failure(now)
		}
		if s.method.stats.blame.Failure(at.Instance().Serial(), now, s.core.fleet.Connected()) {
			return breaker.Ignored
		}
	}
	return verdict
}

// alive notes that the service serves. A stream that flows says so long before its end.
func (s *clientStream) alive(t *streamAttempt, now time.Time) {
	s.method.stats.blame.Success(now)
	if s.state.service != nil {
		s.state.service.Success(now)
	}
	if i := t.attempt.Instance(); i != nil {
		s.core.fleet.Progress(i, s.core.fleet.At(now))
	}
}

// named turns gRPC's error for a call that found no policy of ours into a rejection.
func (c *core) named(ctx context.Context, method string, at *balancer.Attempt, err error) error {
	if at.Instance() != nil || ctx.Err() != nil || status.Code(err) != codes.Unavailable || isRejection(err) {
		return err
	}
	// The source has had nothing yet, so that there was no policy to say it.
	return &Rejection{Reason: ErrNoInstance, Service: c.service, Method: method, LastErr: err}
}
