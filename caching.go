package surecall

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/answers"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/limit"
)

// cache is the cache of one method under one policy.
type cache struct {
	policy CachePolicy // with its defaults
	prefix string      // of all keys: only calls that agree in it share an answer
}

// newCache returns the cache of the method of that name, which r has a policy for; nil: it
// is not to be cached. old is the method as it was.
func newCache(name string, r *methodSettings, old *method) *cache {
	s, before := &r.second, &old.settings.second
	switch {
	case s.cache == before.cache && s.named == before.named && r.idempotent == old.settings.idempotent:
		if old.second == nil {
			return nil
		}
		return old.second.cache // for one call it would cost more than what is cached
	case !cacheable(name, s.named, r.idempotent):
		return nil
	}
	return &cache{policy: *s.cache, prefix: fmt.Sprintf("%s %q %q", name, s.cache.Vary, s.cache.Ignore)}
}

// caches reports whether answers of the method are kept.
func (m *method) caches() bool { return m.second != nil && m.second.cache != nil }

// cacheable reports whether answers of the method may be kept. named: an option says so of
// just this method. idempotent is what options say of that; nil: nothing.
func cacheable(name string, named bool, idempotent *bool) bool {
	if idempotent != nil && !*idempotent {
		return false
	}
	level := descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
	if d := linkedMethod(name); d != nil {
		level = levelOf(d)
	}
	return level == descriptorpb.MethodOptions_NO_SIDE_EFFECTS || named && level == descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

// ask asks the cache for an answer that is fresh, and then whoever can be asked.
func (s *secondCall) ask() inquiry {
	if !s.shares() {
		return s.fetch()
	}
	return s.orAlternate(s.shared(s.short, s.began, s.wish(false), s.fetch))
}

// shares reports whether the call waits for what another one with the same request brings.
func (s *secondCall) shares() bool { return s.keeps && s.cache.policy.Fresh > 0 }

func (s *secondCall) wish(elsewhere bool) answers.Wish {
	return answers.Wish{Key: s.key, Priority: int(limit.FromContext(s.ctx)), Waits: s.asked.waits, Elsewhere: elsewhere}
}

// shared returns an answer that is fresh, or has one call of those with the same wish run
// fetch and the others wait for what it brings: until ctx ends, or the call deadline of what
// began then.
func (s *secondCall) shared(ctx context.Context, began time.Time, w answers.Wish, fetch func() inquiry) inquiry {
	for {
		now := time.Now()
		a, f, led := s.core.answers.Enter(w, s.cache.policy.Fresh, now)
		if led {
			return s.lead(w, f, fetch)
		}
		o := inquiry{answer: a}
		if f != nil {
			if err := s.wait(ctx, began, f); err != nil {
				return inquiry{err: err, executed: true} // by the other call, as far as is known
			}
			o, now = f.Brought, time.Now()
		}
		switch {
		case o.answer != nil && !s.serve(o.answer):
			return fetch() // the caller's reply cannot hold what is kept
		case o.answer != nil && o.cause == nil:
			s.served(event.FreshCache, o.answer.Age(now), nil)
		case o.answer != nil:
			s.served(event.Alternate, o.answer.Age(now), o.cause)
		case o.err == nil:
			continue // it says nothing: another one asks
		case o.cause != nil:
			s.served(event.Alternate, 0, o.cause)
		}
		return o
	}
}

// wait returns nil once f has landed.
func (s *secondCall) wait(ctx context.Context, began time.Time, f *answers.Flight[inquiry]) error {
	ctx, cancel := s.bounded(ctx, began)
	defer cancel()
	defer s.waited()
	select {
	case <-f.Done():
		return nil
	case <-ctx.Done():
		return deadlineError(ctx.Err(), "while another call had asked for the same answer")
	}
}

// waited notes how long the call has waited, if it has asked nobody yet.
func (s *secondCall) waited() {
	if t := s.asked.trace; t != nil && len(t.Attempts) == 0 {
		t.Waited = time.Since(s.began)
	}
}

// lead runs fetch for all who wait for f.
func (s *secondCall) lead(w answers.Wish, f *answers.Flight[inquiry], fetch func() inquiry) inquiry {
	defer s.core.answers.Land(w, f) // also if what the caller gave us panics: a predicate, a codec
	o := fetch()
	if o.cause != nil || o.err == nil || !ownEnd(o.err) {
		f.Brought = o
		f.Brought.tried = o.tried && !o.own
	}
	return o
}

// ownEnd reports whether a call may have failed for what is its own: its deadline, its
// cancellation, its place under a limit. Others with the same request must ask themselves.
func ownEnd(err error) bool {
	code := status.Code(err)
	return code == codes.Canceled || code == codes.DeadlineExceeded || code == codes.ResourceExhausted && isRejection(err)
}

// byStale answers the call from the cache after all failed, if it can.
func (s *secondCall) byStale(cause error) bool {
	if !s.keeps {
		return false
	}
	now := time.Now()
	a := s.core.answers.Get(s.key, s.cache.policy.Stale, now)
	if a == nil || !s.serve(a) {
		return false
	}
	s.served(event.StaleCache, a.Age(now), cause)
	return true
}

// pack returns the reply to a call that began then as an answer of that age; nil: it is not
// for the cache.
func (s *secondCall) pack(began time.Time, age time.Duration) *answers.Answer {
	if !s.keeps {
		return nil
	}
	sent, err := proto.MarshalOptions{AllowPartial: true}.Marshal(s.rpc.reply.(proto.Message))
	if err != nil {
		return nil
	}
	came := time.Now().Add(-age)
	return &answers.Answer{Wire: sent, Began: began, Came: came, Until: came.Add(s.cache.policy.Stale)}
}

// keep stores what was answered, if the policy of retries does not hope for better.
func (s *secondCall) keep(a *answers.Answer) {
	if unwanted := s.method.retry.Unwanted; a != nil && (unwanted == nil || !unwanted(s.rpc.reply)) {
		s.core.answers.Put(s.key, a, s.state.settings.cacheBytes)
	}
}

// forget drops what was answered before began: it was taken back.
func (s *secondCall) forget(began time.Time) {
	if s.keeps {
		now := time.Now()
		gone := &answers.Answer{Gone: true, Began: began, Came: now, Until: now.Add(s.cache.policy.Stale)}
		s.core.answers.Put(s.key, gone, s.state.settings.cacheBytes)
	}
}

// serve makes the caller's reply from a.
func (s *secondCall) serve(a *answers.Answer) bool {
	return proto.UnmarshalOptions{AllowPartial: true}.Unmarshal(a.Wire, s.rpc.reply.(proto.Message)) == nil
}

// keyOf returns what a call shares its answer by: the metadata that the answer depends on,
// and the request. ok is false if the call cannot be cached.
func (s *secondCall) keyOf() (key string, ok bool) {
	req, isProto := s.rpc.req.(proto.Message)
	_, isAlso := s.rpc.reply.(proto.Message)
	if !isProto || !isAlso {
		return "", false
	}
	p := &s.cache.policy
	credentialed := s.core.credentialed
	for _, o := range s.rpc.opts {
		switch o.(type) {
		case grpc.PerRPCCredsCallOption:
			credentialed = true
		case grpc.AuthorityOverrideCallOption:
			return "", false // it asks somebody else
		}
	}
	if credentialed && !slices.Contains(p.Ignore, credentialsKey) {
		s.uncached("per-RPC credentials, which count as", credentialsKey)
		return "", false
	}
	md, _ := metadata.FromOutgoingContext(s.ctx)
	for k := range md {
		if !p.knows(k) {
			s.uncached("metadata", k)
			return "", false
		}
	}
	options := proto.MarshalOptions{Deterministic: true, AllowPartial: true}
	buf := make([]byte, 0, len(s.cache.prefix)+options.Size(req)+64*len(p.Vary))
	buf = append(buf, s.cache.prefix...)
	for _, k := range p.Vary {
		values := md[k]
		buf = binary.AppendUvarint(buf, uint64(len(values)))
		for _, v := range values {
			buf = append(binary.AppendUvarint(buf, uint64(len(v))), v...)
		}
	}
	buf, err := options.MarshalAppend(buf, req)
	return string(buf), err == nil
}

// credentialsKey is the metadata key that credentials are taken to set.
const credentialsKey = "authorization"

// knows reports whether p says what the metadata of that key means for an answer.
func (p *CachePolicy) knows(key string) bool {
	switch key {
	case "traceparent", "tracestate",
		wire.AttemptID, wire.Attempt, wire.CallID, wire.Priority, wire.Replay:
		return true
	}
	return slices.Contains(p.Ignore, key) || slices.Contains(p.Vary, key)
}

// uncached tells, once, why calls pass the cache by.
func (s *secondCall) uncached(what, key string) {
	if s.method.stats.second.uncached.CompareAndSwap(false, true) {
		s.warn(fmt.Sprintf("WithCache of %q: calls with %s %q are not cached: want it in CachePolicy.Vary or Ignore", s.method.name, what, key))
	}
}

// hasCredentials reports whether opts have gRPC add credentials to each call.
func hasCredentials(opts []grpc.DialOption) bool {
	return slices.ContainsFunc(opts, func(o grpc.DialOption) bool {
		return slices.Contains(strings.Split(maker(o), "."), "WithPerRPCCredentials")
	})
}
