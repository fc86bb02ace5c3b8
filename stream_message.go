package surecall

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/surecall/surecall/event"
)

// A stream may be opened again until it is committed: until the caller has seen anything
// of it (a message, its header, its context), has sent what was not kept, or was told
// that it is over. What follows a failed attempt is seen to by whoever receives; one who
// sends and meets the failure first receives for that.

// RecvMsg ends the stream when gRPC says that nothing more will come. Before its first
// message, an attempt that failed may be followed by another, on another instance, that
// is sent all that was sent.
func (s *clientStream) RecvMsg(m any) error {
	if s.settled.Load() {
		err := s.current.RecvMsg(m)
		if err != nil && err != io.EOF && s.unkept && !s.flows {
			s.unkept = false
			s.mourn(s.current, err)
		}
		return s.received(s.current, err)
	}
	t, first, err := s.receive()
	if t == nil && err == nil {
		return decode(first, m)
	}
	if t == nil {
		return err
	}
	for {
		if err = t.RecvMsg(m); err == nil || err == io.EOF {
			break
		}
		if t, err = s.follow(t, err); err != nil {
			break
		}
	}
	err = s.received(t, err)
	s.rest(err, nil)
	return err
}

// receive makes the caller the one who receives, from t. If t is nil there is nothing to
// receive: the first message is there, or the end.
func (s *clientStream) receive() (t *streamAttempt, first []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.receiving {
		s.changed.Wait()
	}
	switch {
	case s.peeked != nil:
		first, s.peeked = s.peeked, nil
		s.settle()
		return nil, first, nil
	case s.final != nil:
		return nil, nil, s.final
	}
	s.receiving = true
	return s.current, nil, nil
}

// rest ends what receive began: err is what was received.
func (s *clientStream) rest(err error, peeked []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiving, s.peeked = false, peeked
	if err != nil {
		s.final = err
	}
	s.commit()
	for err != nil && s.replaying { // what it sends to is over
		s.changed.Wait()
	}
	s.changed.Broadcast()
}

// received notes what was received on t. It returns what the caller gets.
func (s *clientStream) received(t *streamAttempt, err error) error {
	if err != nil || !s.opener.desc.ServerStreams {
		return s.finish(t, err)
	}
	if !s.flows {
		s.flows = true
		s.alive(t, time.Now())
		s.leaveGate(nil)
	}
	return nil
}

// follow is called by who receives, when t has ended with err before its first message.
// It returns the attempt that follows; or the attempt and the error that the call ends with.
func (s *clientStream) follow(t *streamAttempt, err error) (*streamAttempt, error) {
	s.judge(t, err)
	s.mu.Lock()
	for s.sending || s.replaying { // on t, which is over
		s.changed.Wait()
	}
	s.following = !s.committed
	follows, unkept := s.following, s.unkept
	s.mu.Unlock()
	if follows {
		if follows = s.again(t, err); follows {
			t, err = s.open(t, err)
			follows = err == nil
		}
	} else if unkept {
		s.mourn(t, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.following = false
	if follows {
		s.current = t
		if !s.buffer.empty() {
			s.replaying = true
			go s.replay(t, s.buffer)
		}
	}
	s.changed.Broadcast()
	return t, err
}

// replay sends all that was sent before again, on t. It ends at the latest when t does.
// It has a goroutine of its own, because an instance may answer before it has read all:
// who receives must not wait for it.
func (s *clientStream) replay(t *streamAttempt, sent replayBuffer) {
	sent.replay(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaying = false
	s.settle()
	s.changed.Broadcast()
}

// mourn tells why no attempt follows one that might have been followed, had all been kept
// that was sent.
func (s *clientStream) mourn(t *streamAttempt, err error) {
	p, executed := &s.method.retry, t.attempt.Executed()
	if p.MaxAttempts == 1 || s.ctx.Err() != nil || !retryable(p, &t.attempt, status.Code(err)) {
		return
	}
	why := event.NotKept
	switch {
	case executed && !s.method.idempotent:
		why = event.NotIdempotent
	case executed && chainStopped(s.ctx):
		why = event.ChainStop
	}
	s.deny(&t.attempt, why, err)
}

// SendMsg keeps what it sends for as long as the stream may be opened again. If its
// instance fails, and another takes the stream over, that is sent m as well, and SendMsg
// returns nil. Another error ends the stream; io.EOF means that RecvMsg has the true one.
func (s *clientStream) SendMsg(m any) error {
	if s.settled.Load() {
		return s.sent(s.current, s.current.SendMsg(m))
	}
	t := s.send(func(t *streamAttempt) {
		if !s.committed && !(s.keeps(t) && s.buffer.keep(m, s.method.replay)) {
			s.unkept = true
			s.commit()
		}
	})
	err := t.SendMsg(m)
	s.mu.Lock()
	s.sending = false
	if err != nil && err != io.EOF {
		s.commit()
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	if err == io.EOF && s.ends(t) {
		return nil
	}
	return s.sent(t, err)
}

// sent notes an error of SendMsg.
func (s *clientStream) sent(t *streamAttempt, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return s.finish(t, err)
}

// CloseSend always returns nil, as gRPC's own does.
func (s *clientStream) CloseSend() error {
	if s.settled.Load() {
		return s.current.CloseSend()
	}
	t := s.send(func(*streamAttempt) { s.buffer.closed = true })
	err := t.CloseSend()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	s.changed.Broadcast()
	return err
}

// send makes the caller the one who sends, on the attempt that it returns, once that has
// been sent all that was sent before. note notes what.
func (s *clientStream) send(note func(*streamAttempt)) *streamAttempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.following || s.replaying {
		s.changed.Wait()
	}
	note(s.current)
	s.sending = true
	return s.current
}

// keeps reports whether what is sent on t may ever be sent again.
func (s *clientStream) keeps(t *streamAttempt) bool {
	m := s.method
	return m.replay > 0 && m.retry.MaxAttempts > 1 && (t.named || m.idempotent && !chainStopped(s.ctx))
}

// ends is called by one who does not receive, and has met the end of t. It reports
// whether another attempt takes over. If nobody receives, it has to: only so can the end
// be known. A message that was received before it is kept for RecvMsg.
func (s *clientStream) ends(t *streamAttempt) bool {
	s.mu.Lock()
	for s.current == t && s.receiving && !s.committed {
		s.changed.Wait()
	}
	if s.current != t || s.committed || !s.peeks() {
		defer s.mu.Unlock()
		if s.current != t {
			return true
		}
		s.commit() // whoever is told of the end stops sending: nobody else may get less
		return false
	}
	s.receiving = true
	s.mu.Unlock()
	var message emptypb.Empty
	err := t.RecvMsg(&message)
	if err != nil && err != io.EOF {
		if t, err = s.follow(t, err); err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.receiving = false
			s.changed.Broadcast()
			return true
		}
	}
	var peeked []byte
	if err == nil {
		peeked = append([]byte{}, message.ProtoReflect().GetUnknown()...)
	}
	s.rest(s.received(t, err), peeked)
	return false
}

// peeks reports whether a message can be received without knowing its type: gRPC's own
// codec takes whatever it is for the unknown fields of an empty one.
func (s *clientStream) peeks() bool {
	for _, o := range s.opener.opts {
		switch o.(type) {
		case grpc.ContentSubtypeCallOption, grpc.ForceCodecCallOption, grpc.ForceCodecV2CallOption, grpc.CustomCodecCallOption:
			return false
		}
	}
	codec := encoding.GetCodecV2(grpcproto.Name)
	return codec != nil && codec.Unmarshal(nil, &emptypb.Empty{}) == nil
}

// decode is what gRPC's own codec does.
func decode(data []byte, m any) error {
	message := protoMessage(m)
	if message == nil {
		return status.Errorf(codes.Internal, "surecall: received a message of protocol buffers: want a proto.Message to hold it, not %T", m)
	}
	if err := proto.Unmarshal(data, message); err != nil {
		return status.Errorf(codes.Internal, "surecall: received a message that cannot be decoded: %v", err)
	}
	return nil
}

// Header commits the stream if there is a header: what the caller has seen cannot be
// taken back.
func (s *clientStream) Header() (metadata.MD, error) {
	for {
		t := s.now()
		header, err := t.Header()
		switch {
		case header != nil && s.show(t):
			return header, err
		case header == nil && (err != nil || !s.ends(t)):
			return header, err
		}
	}
}

// Trailer is that of the attempt that counts.
func (s *clientStream) Trailer() metadata.MD { return s.now().Trailer() }

// Context is that of the attempt that counts. It commits the stream.
func (s *clientStream) Context() context.Context {
	t := s.now()
	for !s.show(t) {
		t = s.now()
	}
	return t.Context()
}

// now returns the attempt that counts, once that is known.
func (s *clientStream) now() *streamAttempt {
	if s.settled.Load() {
		return s.current
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.following {
		s.changed.Wait()
	}
	return s.current
}

// show commits the stream to t, of which the caller is about to see something. It reports
// whether t counts: another may have followed it.
func (s *clientStream) show(t *streamAttempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.following {
		s.changed.Wait()
	}
	if s.current != t {
		return false
	}
	s.commit()
	s.changed.Broadcast()
	return true
}

// commit has no attempt follow the present one. What was kept is let go. The caller holds
// mu.
func (s *clientStream) commit() {
	s.committed, s.buffer = true, replayBuffer{}
	s.settle()
}

// settle lets the rest of the stream go its way without mu. The caller holds it.
func (s *clientStream) settle() {
	if s.committed && !s.replaying && s.peeked == nil && s.final == nil {
		s.settled.Store(true)
	}
}
