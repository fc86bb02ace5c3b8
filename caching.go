package surecall

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
)

// cache is the cache of one method under one policy.
type cache struct {
	policy CachePolicy // with its defaults
	store  *store
}

// newCache returns the cache of the method of that name, which r has a policy for; nil: it
// is not to be cached. old is the method as it was.
func newCache(name string, r *methodSettings, old *method) *cache {
	s, before := &r.second, &old.settings.second
	if old.second != nil && s.cache == before.cache && s.named == before.named && r.idempotent == old.settings.idempotent {
		return old.second.cache // for one call it would cost more than what is cached
	}
	if !cacheable(name, s.named, r.idempotent) {
		return nil
	}
	return &cache{policy: *s.cache, store: old.stats.second.stores.of(s.cache)}
}

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

// ask asks the cache for an answer that is fresh, and then the instances.
func (s *secondCall) ask(ctx context.Context) error {
	if !s.keeps || s.cache.policy.Fresh == 0 {
		_, err := s.instances(ctx)
		return err
	}
	w := wish{s.key, limit.FromContext(ctx), s.asked.waits}
	for {
		now := time.Now()
		a, f, led := s.cache.store.enter(w, s.cache.policy.Fresh, now)
		if led {
			return s.lead(ctx, w, f)
		}
		if f != nil {
			var cancel context.CancelFunc
			ctx, cancel = s.bounded(ctx) // once: then it has a deadline
			defer cancel()
			select {
			case <-f.done:
			case <-ctx.Done():
				return deadlineError(ctx.Err(), "while another call had asked for the same answer")
			}
			if a, now = f.answer, time.Now(); f.err != nil {
				return f.err
			}
		}
		if a != nil && s.serve(a) {
			s.served(event.FreshCache, a.age(now), nil)
			return nil
		}
		if f == nil {
			_, err := s.instances(ctx) // the caller's reply cannot hold what is kept
			return err
		}
	}
}

// lead asks the instances for all who wait for f.
func (s *secondCall) lead(ctx context.Context, w wish, f *flight) error {
	defer s.cache.store.land(w, f) // also if what the caller gave us panics: a predicate, a codec
	a, err := s.instances(ctx)
	if f.answer = a; err != nil && !ownEnd(err) {
		f.err = err
	}
	return err
}

// ownEnd reports whether a call may have failed for what is its own: its deadline, its
// cancellation, its priority. Others with the same request must ask themselves.
func ownEnd(err error) bool {
	code := status.Code(err)
	return code == codes.Canceled || code == codes.DeadlineExceeded || isRejection(err)
}

// byStale answers the call from the cache after all failed, if it can.
func (s *secondCall) byStale(cause error) bool {
	if !s.keeps {
		return false
	}
	now := time.Now()
	a := s.cache.store.get(s.key, s.cache.policy.Stale, now)
	if a == nil || !s.serve(a) {
		return false
	}
	s.served(event.StaleCache, a.age(now), cause)
	return true
}

// keep stores the reply of an instance.
func (s *secondCall) keep() *answer {
	wire, err := proto.MarshalOptions{AllowPartial: true}.Marshal(s.rpc.reply.(proto.Message))
	if err != nil {
		return nil
	}
	a := &answer{wire: wire, came: time.Now()}
	if unwanted := s.method.retry.Unwanted; unwanted == nil || !unwanted(s.rpc.reply) {
		s.cache.store.put(s.key, a)
	}
	return a
}

// serve makes the caller's reply from a.
func (s *secondCall) serve(a *answer) bool {
	return proto.UnmarshalOptions{AllowPartial: true}.Unmarshal(a.wire, s.rpc.reply.(proto.Message)) == nil
}

// keyOf returns what a call shares its answer by: the metadata that the answer depends on,
// and the request. ok is false if the call cannot be cached.
func (s *secondCall) keyOf(ctx context.Context) (key string, ok bool) {
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
	md, _ := metadata.FromOutgoingContext(ctx)
	for k := range md {
		if !p.knows(k) {
			s.uncached("metadata", k)
			return "", false
		}
	}
	options := proto.MarshalOptions{Deterministic: true, AllowPartial: true}
	buf := make([]byte, 0, options.Size(req)+64*len(p.Vary))
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
	case "traceparent", "tracestate":
		return true
	}
	return strings.HasPrefix(key, "surecall-") || slices.Contains(p.Ignore, key) || slices.Contains(p.Vary, key)
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

// stores are those of one method, by what policies must agree in to share one. The one
// that was asked for last is the last.
type stores struct {
	mu   sync.Mutex
	list []namedStore
}

type namedStore struct {
	name string
	*store
}

// maxStores is how many stores a method has at most: calls can come with policies of
// their own.
const maxStores = 4

// of returns the store for p, which has its defaults.
func (s *stores) of(p *CachePolicy) *store {
	name := fmt.Sprintf("%d %d %q %q", p.MaxEntries, p.MaxBytes, p.Vary, p.Ignore)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.list, func(n namedStore) bool { return n.name == name })
	if at < 0 {
		s.list = append(s.list, namedStore{name, newStore(p.MaxEntries, p.MaxBytes)})
		if len(s.list) > maxStores {
			s.list = slices.Delete(s.list, 0, 1)
		}
		return s.list[len(s.list)-1].store
	}
	found := s.list[at]
	s.list = append(slices.Delete(s.list, at, at+1), found)
	return found.store
}
