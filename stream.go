package surecall

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
)

// stream is the path of a streaming call. It differs from that of a unary call where a
// stream does:
//
//   - It has a deadline only if ForMethod gives it one: a stream may live for hours.
//   - A retry is possible only of what was never executed, and before the first message:
//     what follows on a stream cannot be repeated without knowing what it means.
//   - It is judged by its end, and never a half-open trial: that end may be hours away.
//   - Its length says nothing about latency.
func (c *core) stream(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, name string, streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	state := c.state.Load()
	m := state.methods.find(name)
	now := time.Now()
	deadline, has := ctx.Deadline()
	ours := !has && m.streams > 0
	cancel := func() {}
	if ours {
		deadline, has = now.Add(m.streams), true
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	var asked asked
	opts = asked.read(opts)
	waits := asked.waits
	trial, err := c.admit(ctx, state, name, waits, now)
	if err != nil {
		cancel()
		return nil, c.observe(state, name, err)
	}
	if m.retry.MaxAttempts > 1 {
		state.budget.Deposit(now)
	}
	s := &clientStream{
		tries: tries{
			core: c, state: state, method: m,
			ctx: ctx, deadline: deadline, hasDeadline: has, deadlineOurs: ours,
		},
		opener: opener{desc, conn, streamer, opts},
		cancel: cancel, waits: waits, trial: trial,
	}
	if err := s.open(); err != nil {
		cancel()
		return nil, c.observe(state, name, s.named(c.named(ctx, name, s.attempt, err), m.streams))
	}
	return s, nil
}

// clientStream is one streaming call. Its methods may be called as gRPC allows: one
// goroutine sends while another receives.
type clientStream struct {
	grpc.ClientStream
	tries
	opener opener
	cancel context.CancelFunc
	waits  bool // for ready
	trial  bool // of the service breaker

	attempt *balancer.Attempt
	once    sync.Once     // the attempt is judged
	flows   bool          // a message was received; used by the receiver only
	request proto.Message // of a server stream that can be opened again
}

// opener is what gRPC wants back to open a stream.
type opener struct {
	desc     *grpc.StreamDesc
	conn     *grpc.ClientConn
	streamer grpc.Streamer
	opts     []grpc.CallOption
}

// open opens the stream, on another instance if it must.
func (s *clientStream) open() error {
	for {
		s.attempts++
		s.once = sync.Once{}
		s.attempt = &balancer.Attempt{
			Context: s.ctx, Fleet: s.core.fleet, Prior: s.attempt,
			Stream: true, WaitForReady: s.waits, Rotate: s.trial,
		}
		stream, err := s.opener.streamer(s.attempt, s.opener.desc, s.opener.conn, s.method.name, s.opener.opts...)
		if err == nil {
			s.ClientStream = stream
			return nil
		}
		s.end(err)
		if !s.reopens(err) {
			return err
		}
	}
}

// reopens decides whether the stream is opened on another instance, after having waited
// if it must: only if nothing can have been executed.
func (s *clientStream) reopens(err error) bool {
	if s.attempt.Executed() {
		return false
	}
	wait, again := s.next(s.attempt, err, false, false, time.Now())
	return again && pause(s.ctx, wait) == nil
}

// RecvMsg ends the stream when gRPC says that nothing more will come. A server stream
// whose server refused it unexecuted, before its first message, is opened again.
func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	for err != nil && err != io.EOF && !s.flows && s.request != nil && !s.attempt.Executed() {
		s.end(err)
		if !s.reopens(err) {
			break
		}
		if failed := s.replay(); failed != nil {
			err = failed
			break
		}
		err = s.ClientStream.RecvMsg(m)
	}
	if err == nil && s.opener.desc.ServerStreams {
		if !s.flows {
			s.flows, s.request = true, nil
			s.alive(time.Now())
		}
		return nil
	}
	s.end(err)
	s.cancel()
	if err == nil || err == io.EOF {
		return err
	}
	return s.named(err, s.method.streams)
}

// replay opens the stream again and sends its one request.
func (s *clientStream) replay() error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.ClientStream.SendMsg(s.request); err != nil && err != io.EOF {
		return err
	}
	return s.ClientStream.CloseSend()
}

// alive notes that the service serves. A stream that flows says so long before its end.
func (s *clientStream) alive(now time.Time) {
	s.method.stats.blame.Success(now)
	if s.state.service != nil {
		s.state.service.Success(now)
	}
	if i := s.attempt.Instance(); i != nil {
		s.core.fleet.Progress(i, s.core.fleet.At(now))
	}
}

// SendMsg ends the stream on an error; io.EOF means that RecvMsg has the true one. The
// request of a server stream is kept, as a copy since the caller may use it again, if
// the server is one that may refuse it unexecuted.
func (s *clientStream) SendMsg(m any) error {
	if request, ok := m.(proto.Message); ok && !s.opener.desc.ClientStreams && s.attempt.Named() {
		s.request = proto.Clone(request)
	}
	err := s.ClientStream.SendMsg(m)
	if err != nil && err != io.EOF {
		s.end(err)
		s.cancel()
	}
	return err
}

// end judges the instance by the stream's end.
func (s *clientStream) end(err error) {
	s.once.Do(func() {
		now := time.Now()
		at := s.attempt
		i := at.Instance()
		if i == nil {
			return
		}
		if err == io.EOF {
			err = nil
		}
		verdict := breaker.Success
		if err != nil {
			verdict = s.state.settings.classify(breaker.Outcome{
				Code:          status.Code(err),
				NeverExecuted: !at.Executed(),
				Canceled:      at.Err() == context.Canceled,
				Elapsed:       time.Duration(s.core.fleet.At(now) - at.Picked()),
			})
		}
		switch verdict {
		case breaker.Success:
			s.alive(now)
		case breaker.Failure, breaker.RatioFailure:
			if service := s.state.service; service != nil && !(verdict == breaker.RatioFailure && at.Answered()) {
				service.Failure(now)
			}
			if s.method.stats.blame.Failure(i.Serial(), now, s.core.fleet.Connected()) {
				verdict = breaker.Ignored
			}
		}
		at.Judge(verdict)
	})
}

// named turns gRPC's error for a call that found no policy of ours into a rejection.
func (c *core) named(ctx context.Context, method string, at *balancer.Attempt, err error) error {
	if at.Instance() != nil || ctx.Err() != nil || status.Code(err) != codes.Unavailable || isRejection(err) {
		return err
	}
	// The source has had nothing yet, so that there was no policy to say it.
	return &Rejection{Reason: ErrNoInstance, Service: c.service, Method: method, LastErr: err}
}
