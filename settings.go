package surecall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/retry"
)

// settings is everything options say. Defaults come through the same door as what the
// user says: defaultSettings applies first.
type settings struct {
	// Fixed when the client is made.
	credentials credentials.TransportCredentials
	source      discovery.Source
	loss        resolver.Loss
	snapshots   resolver.Snapshots
	dialer      func(context.Context, string) (net.Conn, error)
	dial        []grpc.DialOption
	idle        time.Duration
	health      balancer.Health
	// Where policy documents come from; nil: there is none.
	owner, caller PolicySource
	policyHeader  string // metadata that says the policies of a call; "": none does

	// Live: swapped as a whole by Client.Update.
	events          event.Handler
	observer        Observer // nil: none
	balancer        balancer.Policy
	breaker         *breaker.Policy
	instance        *limit.Concurrency // of each instance; nil: none
	instanceStreams *limit.Concurrency
	streams         *limit.Concurrency // of all streams; nil: none
	service         *breaker.ServicePolicy
	budget          retry.BudgetPolicy
	classify        breaker.Classifier
	notify          NotifyPolicy
	cacheBytes      int
	base            methodSettings
	rules           []rule                 // by rising length of their patterns
	disabled        map[string]protections // who wants what off; a map is never changed
	misnamed        []string               // in the environment
	shadow          bool                   // nothing that is decided is done

	errs []error
}

// methodSettings is what options say about one method.
type methodSettings struct {
	deadline    time.Duration // 0: none
	streams     time.Duration // the deadline of streams, which must name the method; 0: none
	ownDeadline bool          // not the default
	attempt     *AttemptTimeout
	retry       *retry.Policy
	hedge       *retry.Hedge // nil: none
	idempotent  *bool        // nil: what the proto file says
	callID      bool
	replay      int // bytes kept of a stream; 0: none
	second      secondSettings

	// What the methods of a scope share, and what each has for itself; nil: none.
	scope       string // the pattern whose options are being applied
	concurrency *scoped[limit.Concurrency]
	rate        *scoped[limit.Rate]
	throttle    *limit.Throttle
	breaker     *breaker.MethodPolicy

	from string // where those of a call were given, for errors; "": in ForCall
	errs []error
}

// rule is what ForMethod says of one pattern.
type rule struct {
	pattern string
	opts    []MethodOption
}

// The defaults that are not those of a policy's zero value.
const (
	// DefaultCallDeadline is between go-zero's and kratos' 2 s and Envoy's 15 s.
	DefaultCallDeadline = 5 * time.Second
)

func defaultSettings() *settings {
	return &settings{
		breaker:  &breaker.Policy{},
		service:  &breaker.ServicePolicy{},
		classify: breaker.Classify,

		cacheBytes: DefaultCacheBytes,
		base: methodSettings{
			deadline: DefaultCallDeadline,
			attempt:  &AttemptTimeout{},
			retry:    &retry.Policy{},
			replay:   DefaultReplayBuffer,

			concurrency: &scoped[limit.Concurrency]{},
		},
	}
}

// newSettings returns what opts say, or everything that is wrong with them, joined.
func newSettings(opts []Option) (*settings, error) {
	s := defaultSettings()
	for n, o := range opts {
		if o == nil {
			s.fail(fmt.Errorf("surecall: option %d is nil", n))
			continue
		}
		o.client(s)
	}
	if s.credentials == nil {
		s.fail(errors.New("surecall: no transport security chosen: want WithTransportCredentials(c) with a c that is not nil, or WithInsecure()"))
	}
	s.fail(checkDialOptions(s.dial))
	s.fail(s.snapshots.Validate())
	s.fail(errors.Join(s.contradictions()...))
	return s, errors.Join(s.errs...)
}

// updated returns s with opts applied.
func (s *settings) updated(opts []LiveOption) (*settings, error) {
	next := *s
	next.rules, next.errs = slices.Clone(s.rules), nil
	for n, o := range opts {
		if o == nil {
			next.fail(fmt.Errorf("surecall: option %d is nil", n))
			continue
		}
		o.client(&next)
	}
	next.fail(errors.Join(next.contradictions()...))
	return &next, errors.Join(next.errs...)
}

func (s *settings) fail(err error) {
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

func (m *methodSettings) fail(err error) {
	if err != nil {
		m.errs = append(m.errs, err)
	}
}

func (m *methodSettings) takeErr() error {
	err := errors.Join(m.errs...)
	m.errs = nil
	return err
}

// rule adds what opts say of the methods that pattern names.
func (s *settings) rule(pattern string, opts ...MethodOption) {
	s.fail(checkPattern(pattern))
	var trial methodSettings
	for n, o := range opts {
		if o == nil {
			s.fail(fmt.Errorf("surecall: ForMethod(%q): option %d is nil", pattern, n))
			return
		}
		o.method(&trial)
	}
	if err := errors.Join(trial.takeErr(), trial.second.check(pattern)); err != nil {
		s.fail(fmt.Errorf("surecall: ForMethod(%q): %w", pattern, err))
	}
	at := slices.IndexFunc(s.rules, func(r rule) bool { return r.pattern == pattern })
	if at < 0 {
		s.rules = append(s.rules, rule{pattern, slices.Clone(opts)})
		slices.SortStableFunc(s.rules, func(a, b rule) int { return a.length() - b.length() })
		return
	}
	// One rule for each pattern, and in it one option about each thing: who updates a client
	// over and over must not make it grow.
	kept := slices.DeleteFunc(slices.Clone(s.rules[at].opts), func(old MethodOption) bool {
		return slices.ContainsFunc(opts, func(o MethodOption) bool { return o.aspect() == old.aspect() })
	})
	s.rules[at].opts = append(kept, opts...)
}

// resolve returns the settings of one method.
func (s *settings) resolve(method string) methodSettings {
	m := s.base
	m.streams = 0
	for _, r := range s.rules {
		if matches(r.pattern, method) {
			m.scope = r.pattern
			for _, o := range r.opts {
				o.method(&m)
			}
		}
	}
	return m
}

// length orders patterns: an exact name is longer than every beginning of it.
func (r rule) length() int {
	if strings.HasSuffix(r.pattern, "*") {
		return 2 * (len(r.pattern) - 1)
	}
	return 2*len(r.pattern) + 1
}

func matches(pattern, method string) bool {
	if beginning, star := strings.CutSuffix(pattern, "*"); star {
		return strings.HasPrefix(method, beginning)
	}
	return pattern == method
}

func checkPattern(pattern string) error {
	const want = `want "/package.Service/Method", or the beginning of one and a star at the end`
	beginning, star := strings.CutSuffix(pattern, "*")
	switch {
	case pattern == "*":
		return nil
	case !strings.HasPrefix(pattern, "/"), strings.Contains(beginning, "*"),
		!star && strings.Count(pattern, "/") != 2, strings.Count(pattern, "/") > 2, strings.HasSuffix(pattern, "/"):
		return fmt.Errorf("surecall: method pattern %.200q: %s", pattern, want)
	}
	return nil
}
