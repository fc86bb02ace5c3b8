package surecall

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CachePolicy says what becomes of a method's answers: the last good one to each request
// is kept, and is the call's answer when all else fails; for a short time it may be that
// before an instance is asked at all. Its zero value is the default.
//
// The answers of all methods of a client are kept together, within the bound of
// [WithCacheBytes]; when it is reached, what was asked for longest ago goes. They are kept in
// sixteen parts, each with a sixteenth of the bound and a lock of its own; an answer that is
// larger than that is not kept. The caller's reply is its own, to change as it likes. An
// answer that an instance takes back, with NOT_FOUND or PERMISSION_DENIED say, is forgotten.
// What a slow call brings is not kept if a call that began after it has had its answer:
// an older state does not replace a newer one. An alternate's answers are kept as the
// instances' are, unless they are its own second best.
//
// # Whose answers they are
//
// Two calls share an answer if method and request are the same, and the outgoing metadata
// that Vary names. An answer may also depend on who asked, and what says so is metadata. So a
// call is neither answered from the cache nor kept in it if it has metadata that neither
// Vary nor Ignore names; the keys that surecall itself sends, traceparent and tracestate
// aside. Per-RPC
// credentials (grpc.PerRPCCredentials, grpc.WithPerRPCCredentials, and any connection made
// with [DialOptions], which may have them unseen) count as the key "authorization", whose
// value is not known: they can only be ignored. The first call that is passed over for
// this reason is told of as event.ConfigWarning. Not seen, and so not protected, is what is
// added beneath surecall: by a stats handler of gRPC's.
type CachePolicy struct {
	// Fresh is how old an answer may be to be given without asking an instance. Of calls
	// with the same request and priority that find none, one asks and the others wait for
	// its answer, the alternate's included, each no longer than its own deadline, less the
	// reserve; a failure that may be due to that call's own deadline, cancellation or
	// priority is not theirs: another one asks then.
	// Default 0: an instance is always asked.
	Fresh time.Duration
	// Stale is how old an answer may be when all else failed, at least Fresh. Default
	// 10 min, or Fresh if that is longer.
	Stale time.Duration
	// FreshOnly has no answer older than Fresh served, whatever fails.
	FreshOnly bool
	// Vary names the keys of outgoing metadata on which the answer depends: who asks, the
	// tenant, the language.
	Vary []string
	// Ignore names the keys on which it does not: request IDs, say.
	Ignore []string
}

// WithCache keeps the answers of methods without side effects by p: see [CachePolicy]. Those
// are the methods whose proto file says so:
//
//	rpc Get(GetRequest) returns (Order) {
//	  option idempotency_level = NO_SIDE_EFFECTS;
//	}
//
// and those that a [ForMethod] or a [ForCall] with this option names in full, if their
// file says nothing. A pattern with a star passes over all other methods, and so do both
// over what is declared not idempotent. What is kept belongs to the client: it is used and
// filled by all calls of the method whose policy agrees in Vary and Ignore, and
// [Client.Update] leaves it alone while any method is cached; after that, and with
// [Client.Close], all is forgotten. Unary calls only, and none that is pinned.
func WithCache(p CachePolicy) CallOption {
	err, compiled := p.Validate(), p.withDefaults()
	return perCall("cache", func(m *methodSettings) {
		m.second.cache, m.second.named = &compiled, m.scope != "" && !strings.HasSuffix(m.scope, "*")
		m.fail(err)
	})
}

// WithoutCache has an instance asked, and its answer not kept. With [ForCall] it makes a
// call see what an earlier call of the same caller wrote.
func WithoutCache() CallOption {
	return perCall("cache", func(m *methodSettings) { m.second.cache = nil })
}

// WithCacheBytes bounds what the client keeps of the answers of all its methods together,
// with their requests and about 300 bytes for each. Default 16 MiB. Updated, it holds for a
// part of what is kept once another answer comes to that part.
func WithCacheBytes(n int) LiveOption {
	return live(func(s *settings) {
		s.cacheBytes = n
		if n < 1 {
			s.fail(fmt.Errorf("surecall: WithCacheBytes %d: want at least 1, or WithoutCache()", n))
		}
	})
}

// The defaults of [CachePolicy] and [WithCacheBytes].
const (
	DefaultCacheStale = 10 * time.Minute
	DefaultCacheBytes = 16 << 20
)

// Validate reports everything that is wrong with p, joined.
func (p CachePolicy) Validate() error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("surecall: CachePolicy."+format, args...))
	}
	if p.Fresh < 0 {
		fail("Fresh %v: want 0 (always ask) or more", p.Fresh)
	}
	switch {
	case p.FreshOnly && p.Fresh == 0:
		fail("FreshOnly with Fresh 0: want Fresh more than 0, or nothing is ever served")
	case p.FreshOnly && p.Stale != 0:
		fail("Stale %v with FreshOnly: want one of them", p.Stale)
	case p.Stale != 0 && p.Stale < p.Fresh:
		fail("Stale %v: want 0 (means %v) or at least Fresh, %v", p.Stale, max(DefaultCacheStale, p.Fresh), p.Fresh)
	}
	p = p.withDefaults()
	for _, key := range slices.Concat(p.Vary, p.Ignore) {
		if key == "" {
			fail("Vary, Ignore: an empty key: want the name of metadata")
		}
	}
	for _, key := range p.Vary {
		if slices.Contains(p.Ignore, key) {
			fail("Vary and Ignore both have %q: want one of them", key)
		}
	}
	return errors.Join(errs...)
}

// withDefaults returns p with its defaults, and its keys as metadata has them, in order.
func (p CachePolicy) withDefaults() CachePolicy {
	switch {
	case p.FreshOnly:
		p.Stale = p.Fresh
	case p.Stale == 0:
		p.Stale = max(DefaultCacheStale, p.Fresh)
	}
	p.Vary, p.Ignore = keys(p.Vary), keys(p.Ignore)
	return p
}

// keys returns names in lower case, in order, and each once.
func keys(names []string) []string {
	lower := make([]string, 0, len(names))
	for _, name := range names {
		lower = append(lower, strings.ToLower(name))
	}
	slices.Sort(lower)
	return slices.Compact(lower)
}
