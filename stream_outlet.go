package surecall

import (
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// outlets are what the caller wants to know at the end of a stream, and gRPC would tell
// at the end of each attempt.
type outlets struct {
	headers  []*metadata.MD
	trailers []*metadata.MD
	peers    []*peer.Peer
}

// outcome is what one attempt, or an alternate, has brought for them.
type outcome struct {
	header, trailer metadata.MD
	peer            peer.Peer
}

// take takes the outlets out of opts, and returns the others.
func (o *outlets) take(opts []grpc.CallOption) []grpc.CallOption {
	others := make([]grpc.CallOption, 0, len(opts))
	for _, opt := range opts {
		switch opt := opt.(type) {
		case grpc.HeaderCallOption:
			o.headers = append(o.headers, opt.HeaderAddr)
		case grpc.TrailerCallOption:
			o.trailers = append(o.trailers, opt.TrailerAddr)
		case grpc.PeerCallOption:
			o.peers = append(o.peers, opt.PeerAddr)
		default:
			others = append(others, opt)
		}
	}
	if len(others) == len(opts) {
		return opts
	}
	return others
}

// fill gives them what b has.
func (o *outlets) fill(b *outcome) {
	for _, h := range o.headers {
		*h = b.header
	}
	for _, t := range o.trailers {
		*t = b.trailer
	}
	for _, p := range o.peers {
		if b.peer.Addr != nil {
			*p = b.peer
		}
	}
}

// options are those of attempt t. Its end is heard as soon as gRPC knows of it: the caller
// may leave a stream and never ask for it.
func (s *clientStream) options(t *streamAttempt) []grpc.CallOption {
	opts := append(t.opts[:0], s.opener.opts...)
	if o := &s.outlets; o.headers != nil || o.trailers != nil || o.peers != nil {
		b := &t.brought
		opts = append(opts, grpc.Header(&b.header), grpc.Trailer(&b.trailer), grpc.Peer(&b.peer))
	}
	return append(opts, grpc.OnFinish(func(err error) { s.ended(t, err) }))
}

// ended is told by gRPC that t is over. Unless another attempt may follow, so is the call.
func (s *clientStream) ended(t *streamAttempt, err error) {
	t.freeSlot()
	s.mu.Lock()
	last := s.committed && s.current == t
	s.mu.Unlock()
	if last || err == nil || s.ctx.Err() != nil || status.Code(err) == codes.Canceled {
		s.judge(t, err)
		_ = s.deliver(t, err) // who receives is given it
	}
}

// deliver tells the caller, once, what the attempt that counts has brought. It returns err
// with its explanation.
func (s *clientStream) deliver(t *streamAttempt, err error) error {
	cause := err
	if err == io.EOF {
		cause = nil
	}
	s.told.Do(func() {
		s.leaveGate(cause)
		s.outlets.fill(&t.brought)
		cause = s.core.end(s.state, s.method, s.method.name, &s.asked, s.over(cause, s.asked.trace), s.began)
	})
	switch {
	case err == nil || err == io.EOF:
		return err
	case Explain(cause) != nil:
		return cause
	default: // gRPC told of the end first, or what failed came after it
		s.telling.Lock()
		defer s.telling.Unlock()
		how := s.story()
		if how.Call.Method == "" {
			how.Service, how.Idempotent = s.core.service, s.method.idempotent
			how.Call = CallTrace{Method: s.method.name, Began: s.began, Took: time.Since(s.began), Err: err}
		}
		return &callError{err, how}
	}
}

// leaveGate tells throttle and method breaker how the call went, once: by its first
// message, or if there was none by its end. What comes after may take hours.
func (s *clientStream) leaveGate(err error) { s.left.Do(func() { s.leave(err) }) }
