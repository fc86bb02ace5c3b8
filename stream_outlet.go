package surecall

import (
	"io"

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

// outcome is what one attempt has brought for them.
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

// silent reports whether nobody asked to be told of the end.
func (s *clientStream) silent() bool {
	o, a := &s.outlets, &s.asked
	return o.headers == nil && o.trailers == nil && o.peers == nil && a.finish == nil && a.trace == nil
}

// options are those of attempt t.
func (s *clientStream) options(t *streamAttempt) []grpc.CallOption {
	opts := s.opener.opts
	if s.silent() {
		return opts
	}
	b := &t.brought
	return append(opts[:len(opts):len(opts)],
		grpc.Header(&b.header), grpc.Trailer(&b.trailer), grpc.Peer(&b.peer), grpc.OnFinish(func(err error) { s.ended(t, err) }))
}

// ended is told by gRPC that t is over. Unless another attempt may follow, so is the call,
// even if the caller has left it and will never ask.
func (s *clientStream) ended(t *streamAttempt, err error) {
	s.mu.Lock()
	last := s.committed && s.current == t
	s.mu.Unlock()
	if last || err == nil || s.ctx.Err() != nil || status.Code(err) == codes.Canceled {
		s.judge(t, err)
		s.deliver(t, err)
	}
}

// deliver tells the caller, once, what the attempt that counts has brought.
func (s *clientStream) deliver(t *streamAttempt, err error) {
	if s.silent() {
		return
	}
	if err == io.EOF {
		err = nil
	}
	s.over.Do(func() {
		for _, h := range s.outlets.headers {
			*h = t.brought.header
		}
		for _, m := range s.outlets.trailers {
			*m = t.brought.trailer
		}
		for _, p := range s.outlets.peers {
			if t.brought.peer.Addr != nil {
				*p = t.brought.peer
			}
		}
		s.asked.end(err, s.began)
	})
}
