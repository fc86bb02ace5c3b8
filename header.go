package surecall

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"
)

// WithPolicyHeader lets a request say by what policies its calls are made, for test
// environments: a call obeys what is in the metadata of that name, of its own outgoing
// metadata or else of the request that is being served (its context's incoming metadata).
// It is an entry of the "methods" of a [PolicyDocument], as JSON, and comes over all else,
// [ForCall] included:
//
//	x-surecall-policy: {"deadline": "200ms", "retry": false}
//
// It can say what [ForCall] can. What is wrong with it ends the call with the code
// INVALID_ARGUMENT. It is sent on only if it is in the outgoing metadata. By default no
// metadata is read. Whoever can send a request decides then how its calls are made: do not
// use it where strangers can.
func WithPolicyHeader(name string) Option {
	return fixed(func(s *settings) {
		s.policyHeader = strings.ToLower(name)
		if name == "" || strings.HasPrefix(s.policyHeader, "grpc-") || strings.HasSuffix(s.policyHeader, "-bin") || strings.Trim(s.policyHeader, headerLetters) != "" {
			s.fail(fmt.Errorf("surecall: WithPolicyHeader %q: want the name of metadata, %q for example", name, "x-surecall-policy"))
		}
	})
}

const (
	headerLetters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	// maxHeaders bounds how many different texts are remembered, each of at most
	// maxHeaderSize bytes.
	maxHeaders    = 256
	maxHeaderSize = 8 << 10
)

// policyHeader reads the policies of calls from their metadata.
type policyHeader struct {
	name string

	mu    sync.Mutex
	known map[string][]CallOption // by text
}

func newPolicyHeader(name string) *policyHeader {
	if name == "" {
		return nil
	}
	return &policyHeader{name: name, known: make(map[string][]CallOption)}
}

// over returns given and what the header of a call says over it.
func (h *policyHeader) over(ctx context.Context, given []CallOption) []CallOption {
	text, ok := h.find(ctx)
	if !ok {
		return given
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	opts, ok := h.known[text]
	if !ok {
		opts = h.parse(text)
		if len(h.known) == maxHeaders {
			clear(h.known)
		}
		if len(text) <= maxHeaderSize {
			h.known[strings.Clone(text)] = opts
		}
	}
	return append(given, opts...)
}

// find returns the header of a call. Of several values the last one counts.
func (h *policyHeader) find(ctx context.Context) (text string, ok bool) {
	var values []string
	if md, has := metadata.FromOutgoingContext(ctx); has {
		values = md.Get(h.name)
	}
	if values == nil {
		values = metadata.ValueFromIncomingContext(ctx, h.name)
	}
	if values == nil {
		return "", false
	}
	return values[len(values)-1], true
}

// parse returns what text says; if it is wrong, an option that says why.
func (h *policyHeader) parse(text string) []CallOption {
	opts, err := parseHeader(text)
	if err == nil && len(opts) == 0 {
		return nil
	}
	return append(opts, perCall("policy header", func(m *methodSettings) {
		m.from = "metadata " + h.name
		m.fail(err)
	}))
}

func parseHeader(text string) (opts []CallOption, err error) {
	if len(text) > maxHeaderSize {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), maxHeaderSize)
	}
	var m MethodPolicies
	if _, err := documentFormat().Decode([]byte(text), &m); err != nil {
		return nil, err
	}
	for _, s := range m.says() {
		o, ok := s.option.(CallOption)
		if !ok {
			return nil, fmt.Errorf("%s: it counts many calls, so that one call can only switch it off: want false", s.key)
		}
		var trial methodSettings
		if o.call(&trial); trial.errs != nil {
			return nil, fmt.Errorf("%s: %w", s.key, trial.takeErr())
		}
		opts = append(opts, o)
	}
	return opts, nil
}
