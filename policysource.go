package surecall

import (
	"context"
	"errors"
	"fmt"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
)

// PolicySource is where a policy document comes from: [PolicyFile], [PolicyKey], or one of
// your own.
type PolicySource interface {
	// Watch calls update, one call at a time, with the document's text now and whenever it
	// changes, until ctx ends; then it returns. text nil without err: there is none. An
	// error says why it is not known now. If Watch returns by itself, it is called again
	// after a second at most, later after up to 30 s.
	Watch(ctx context.Context, update func(text []byte, err error)) error
	// String says where it is, without secrets.
	String() string
}

// WithOwnerPolicy has the client obey the policy document that the owner of the service
// publishes: deadlines, what is idempotent, what is hedged. It comes over what code says:
// see [PolicyDocument] for the precedence, and for what a document can do.
//
// A document is in force within a second of its change, as a whole or not at all, and as by
// [Client.Update]: calls that have begun go on under what they began with, and what was
// learned stays. One that is refused is an event.PolicyRefused, and so is one that is gone
// or out of reach: what was applied last stands, for the life of the client. {} takes it
// back. Until the first document is there, code alone is in force; [Client.WaitReady]
// waits up to 1 s for it. [Client.Policies] shows what holds.
//
// A client follows its documents until Close. With [DialOptions] they are followed while the
// connection is not idle, and a target that gRPC resolves by itself (dns) is an error.
func WithOwnerPolicy(source PolicySource) Option {
	return fixed(func(s *settings) { s.owner = s.policySource("WithOwnerPolicy", source) })
}

// WithCallerPolicy has the client obey a document of the caller's own operators, which
// comes over the owner's: see [WithOwnerPolicy].
func WithCallerPolicy(source PolicySource) Option {
	return fixed(func(s *settings) { s.caller = s.policySource("WithCallerPolicy", source) })
}

// WithPolicyDocuments has the client obey the document that the owner of the service keeps
// in Consul, for consul:///orders in the key surecall/orders, of the target's datacenter. It
// is WithOwnerPolicy(PolicyKey("")).
func WithPolicyDocuments() Option { return WithOwnerPolicy(PolicyKey("")) }

func (s *settings) policySource(option string, source PolicySource) PolicySource {
	if source == nil {
		s.fail(fmt.Errorf("surecall: %s: nil: want a source, PolicyFile(path) for example", option))
	}
	return source
}

// PolicyKey is a key of Consul's KV store, at the agent, with the token and in the
// datacenter (of several the first) of the client that it is given to. Its target is one of
// Consul, or [WithSource] gives a *consul.Source. An empty path means "surecall/" and the
// name of the service. The token needs key:read; the watch holds one connection to the agent.
func PolicyKey(path string) PolicySource { return policyKey(path) }

type policyKey string

func (k policyKey) String() string { return "Consul's key " + string(k) }

func (k policyKey) Watch(context.Context, func([]byte, error)) error {
	return errors.New("surecall: PolicyKey is followed by the client that it is given to only")
}

// keyWatcher is what a source must be for PolicyKey.
type keyWatcher interface {
	WatchKey(ctx context.Context, k consul.Key, update func(value []byte, err error)) error
}

// boundKey is a policyKey at the agent of one client.
type boundKey struct {
	key  consul.Key
	open func() (discovery.Source, func(), error)
	name string
}

func (k policyKey) bind(t *target) (PolicySource, error) {
	b := boundKey{key: consul.Key{
		Path: string(k), Datacenter: t.query.Datacenter, Namespace: t.query.Namespace, Partition: t.query.Partition,
	}, open: t.open}
	if k == "" {
		b.key.Path = "surecall/" + t.service
	}
	if err := b.key.Validate(); err != nil {
		return nil, fmt.Errorf("surecall: policy document: %w", err)
	}
	unfit := fmt.Errorf("surecall: policy document in key %q: the source of %q has no keys: want a target of consul, or PolicyFile", b.key.Path, t.service)
	if t.open == nil {
		return nil, unfit
	}
	source, release, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("surecall: %w", err)
	}
	defer release()
	if _, ok := source.(keyWatcher); !ok {
		return nil, unfit
	}
	b.name = "key " + b.key.Path
	if named, ok := source.(fmt.Stringer); ok {
		b.name += " of " + named.String()
	}
	return b, nil
}

func (k boundKey) String() string { return k.name }

func (k boundKey) Watch(ctx context.Context, update func([]byte, error)) error {
	source, release, err := k.open()
	if err != nil {
		return fmt.Errorf("surecall: %w", err)
	}
	defer release()
	return source.(keyWatcher).WatchKey(ctx, k.key, update)
}
