package surecall

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/wire"
)

// WithAlternate makes a call again on conn, typically a [Client] of another service name or
// datacenter, when all instances failed it: if none can have executed it, or the
// method is idempotent. What conn answers is the call's answer, also an error that answers
// the request; another failure of conn's leaves the call its own error.
//
// All of the caller's metadata goes along, what says who it is (authorization) included, and
// so do per-RPC credentials among its call options: conn must be one that may see them. The
// ID of [WithCallID] stays the same. [Trace] and [ForCall] do not go along.
//
// It is not asked after RESOURCE_EXHAUSTED, a limit of the caller's own included: load that
// was refused in one place must not be moved to another. Nor for calls that are made as
// another client's alternate, nor once the caller's deadline is over: see
// [WithFallbackReserve]. If the caller set none, conn has the time of [WithCallDeadline]
// anew. Which failures it is for says [WithFallbackWhen]. conn is not closed with the
// client. Unary calls only, and none that is pinned.
func WithAlternate(conn grpc.ClientConnInterface) CallOption {
	return perCall("alternate", func(m *methodSettings) {
		m.second.alternate = conn
		if c, ours := conn.(*Client); conn == nil || ours && c == nil {
			m.fail(errors.New("surecall: WithAlternate: nil: want a client"))
		}
	})
}

// WithoutAlternate has no other service asked.
func WithoutAlternate() CallOption {
	return perCall("alternate", func(m *methodSettings) { m.second.alternate = nil })
}

// alternateKey is in the context of a call made as an alternate: two clients may be each
// other's.
type alternateKey struct{}

// orAlternate returns o, or what the alternate answers if o is a failure that may be moved
// there.
func (s *secondCall) orAlternate(o inquiry) inquiry {
	if s.alternate == nil || o.cause != nil || o.tried || !s.failed(o.err) || !s.mayMove(o) {
		return o
	}
	now := time.Now()
	ctx, cancel := s.bounded(s.ctx, now)
	defer cancel()
	var by inquiry
	if s.shares() { // those whose time to wait for the instances was up come together
		by = s.shared(ctx, now, s.wish(true), func() inquiry { return s.elsewhere(ctx, o) })
	} else {
		by = s.elsewhere(ctx, o)
	}
	if by.err == nil || by.cause != nil {
		return by
	}
	o.tried, o.own = true, ownEnd(by.err)
	return o
}

// elsewhere asks the alternate after the instances failed with o. It has variables of its
// own to fill in: what it sends is the caller's only if it answers.
func (s *secondCall) elsewhere(ctx context.Context, o inquiry) inquiry {
	ctx = context.WithValue(ctx, alternateKey{}, true)
	if o.executed {
		ctx = metadata.AppendToOutgoingContext(ctx, wire.Attempt, "2") // at least: it repeats what may have been executed
	}
	var (
		callers outlets
		own     outcome
		trace   CallTrace
	)
	opts := append(others(callers.take(s.rpc.opts)), // the last Trace is the one that counts
		grpc.Header(&own.header), grpc.Trailer(&own.trailer), grpc.Peer(&own.peer), Trace(&trace))
	began := time.Now()
	err := s.alternate.Invoke(ctx, s.method.name, s.rpc.req, s.rpc.reply, opts...)
	if err != nil && s.when(err) {
		return inquiry{err: err}
	}
	callers.fill(&own)
	s.served(event.Alternate, trace.Age, o.err)
	if err != nil {
		if isAnswer(status.Code(err)) {
			s.forget(began)
		}
		return inquiry{err: err, cause: o.err}
	}
	a := s.pack(began, trace.Age)
	if trace.SecondBest == "" {
		s.keep(a)
	}
	return inquiry{answer: a, cause: o.err}
}

// mayMove reports whether the call may be made elsewhere after it failed with o.
func (s *secondCall) mayMove(o inquiry) bool {
	if s.ctx.Err() != nil || s.ctx.Value(alternateKey{}) != nil || status.Code(o.err) == codes.ResourceExhausted {
		return false
	}
	return !o.executed || s.method.idempotent && !chainStopped(s.ctx)
}

// others returns opts without the policies of ForCall: they are about this client.
func others(opts []grpc.CallOption) []grpc.CallOption {
	return slices.DeleteFunc(slices.Clone(opts), func(o grpc.CallOption) bool {
		_, ours := o.(callPolicies)
		return ours
	})
}
