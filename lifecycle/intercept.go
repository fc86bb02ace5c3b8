package lifecycle

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/limit"
)

// unary is the outermost interceptor of unary calls.
func (l *Life) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c, err := l.admit(ctx, info.FullMethod, &l.traffic.unary)
	if err != nil {
		return nil, err
	}
	defer c.end()
	resp, err := handler(c.handlers(), req)
	if err != nil && isNotExecuted(err) {
		c.markUnexecuted()
	}
	return resp, err
}

// stream is the outermost interceptor of streams.
func (l *Life) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c, err := l.admit(ss.Context(), info.FullMethod, &l.traffic.streams)
	if err != nil {
		return err
	}
	defer c.end()
	ctx := c.handlers()
	if c.counter == nil { // a health Watch would keep gRPC from stopping
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(l.stopping, cancel)()
	}
	return handler(srv, &serverStream{ss, ctx})
}

// call is one call as the interceptor sees it. It is the context of its handler and, so
// that what the handler writes passes through it, the handler's transport stream.
type call struct {
	context.Context
	life      *Life
	transport grpc.ServerTransportStream
	counter   *atomic.Int64 // nil: not counted
}

// admit begins a call, or refuses it.
func (l *Life) admit(ctx context.Context, method string, counter *atomic.Int64) (*call, error) {
	c := &call{Context: ctx, life: l, transport: grpc.ServerTransportStreamFromContext(ctx), counter: counter}
	mode := l.traffic.mode.Load()
	switch {
	case apart(method):
		c.counter = nil
	case mode == refusing:
		if id := c.attemptID(); id != "" {
			c.mark(metadata.Pairs(wire.Unexecuted, id, wire.Draining, id))
			return nil, status.Errorf(codes.Unavailable, "lifecycle: %q is leaving and did not execute this", l.config.Service)
		}
	}
	if mode == warming && l.isSelf(ctx) {
		l.installed.Store(true)
		c.counter = nil
	}
	if c.counter != nil {
		l.traffic.begin(c.counter)
	}
	if number, ok := wire.ParseAttempt(metadata.ValueFromIncomingContext(ctx, wire.Attempt)); ok {
		c.Context = metadata.AppendToOutgoingContext(ctx, wire.Attempt, number)
	}
	if names := metadata.ValueFromIncomingContext(ctx, wire.Priority); len(names) > 0 {
		c.Context = inherit(c.Context, names)
	}
	return c, nil
}

// inherit gives the priority of a call to its handler, and to the calls that this makes.
// A proxy that copies metadata may have left one of its own before the caller's.
func inherit(ctx context.Context, names []string) context.Context {
	for _, name := range slices.Backward(names) {
		if p, ok := limit.ParsePriority(name); ok {
			return metadata.AppendToOutgoingContext(limit.NewContext(ctx, p), wire.Priority, p.String())
		}
	}
	return ctx
}

// end ends the call, also when its handler panics.
func (c *call) end() {
	if c.life.traffic.mode.Load() >= draining {
		id := c.attemptID()
		if id == "" {
			id = "1"
		}
		c.mark(metadata.Pairs(wire.Draining, id))
	}
	if c.counter != nil {
		c.life.traffic.end(c.counter)
	}
}

// attemptID returns what the caller calls this attempt; empty if it does not know of
// marks. A proxy that copies metadata may have left one of its own before it.
func (c *call) attemptID() string {
	ids := metadata.ValueFromIncomingContext(c.Context, wire.AttemptID)
	if len(ids) == 0 {
		return ""
	}
	return ids[len(ids)-1]
}

// markUnexecuted tells the caller that the call had no effect, if it knows of marks.
func (c *call) markUnexecuted() {
	if id := c.attemptID(); id != "" {
		c.mark(metadata.Pairs(wire.Unexecuted, id))
	}
}

// markRepeated tells the caller that the answer is none of this server's own, if it knows
// of marks. ctx is a handler's.
func markRepeated(ctx context.Context) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		if id := c.attemptID(); id != "" {
			c.mark(metadata.Pairs(wire.Repeated, id))
		}
	}
}

// mark writes a trailer. It fails only if the caller has gone.
func (c *call) mark(trailer metadata.MD) {
	if c.transport != nil {
		_ = c.transport.SetTrailer(trailer)
	}
}

// handlers returns the context for the handler.
func (c *call) handlers() context.Context {
	if c.transport == nil { // not under gRPC: a test of the handler
		return c
	}
	return grpc.NewContextWithServerTransportStream(c, c)
}

type callKey struct{}

// Value implements [context.Context].
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Method implements [grpc.ServerTransportStream], as do the following.
func (c *call) Method() string                  { return c.transport.Method() }
func (c *call) SetHeader(md metadata.MD) error  { return c.transport.SetHeader(unmarked(md)) }
func (c *call) SendHeader(md metadata.MD) error { return c.transport.SendHeader(unmarked(md)) }
func (c *call) SetTrailer(md metadata.MD) error { return c.transport.SetTrailer(unmarked(md)) }

// serverStream is the stream for the handler.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context       { return s.ctx }
func (s *serverStream) SetHeader(md metadata.MD) error { return s.ServerStream.SetHeader(unmarked(md)) }
func (s *serverStream) SendHeader(md metadata.MD) error {
	return s.ServerStream.SendHeader(unmarked(md))
}
func (s *serverStream) SetTrailer(md metadata.MD) { s.ServerStream.SetTrailer(unmarked(md)) }

// unmarked returns md without the marks, which are ours to write: a handler that passes
// on what another server answered would spread them.
func unmarked(md metadata.MD) metadata.MD {
	for k := range md {
		if isMark(k) {
			md = md.Copy()
			maps.DeleteFunc(md, func(k string, _ []string) bool { return isMark(k) })
			break
		}
	}
	return md
}

func isMark(key string) bool {
	return strings.EqualFold(key, wire.Unexecuted) || strings.EqualFold(key, wire.Draining) || strings.EqualFold(key, wire.Repeated)
}

// Draining returns a channel that is closed when the server that runs the handler with
// this context begins to leave, so that a long stream can end itself, and its caller can
// open it elsewhere. The channel of a context that comes from elsewhere is nil: it never
// closes. A server that comes online again has a new channel.
func Draining(ctx context.Context) <-chan struct{} {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil
	}
	return c.life.traffic.leaving.Load().ch
}

// IsReplay reports whether a call is the server's own replay of a recorded request,
// which warms it up. Callers outside the process cannot feign it.
func IsReplay(ctx context.Context) bool {
	return selfOf(ctx) != nil && len(metadata.ValueFromIncomingContext(ctx, wire.Replay)) > 0
}
