package surecall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/retry"
)

// Option configures a client. Each option says in its type where it can be given: an
// option that has no meaning somewhere does not compile there.
type Option interface{ client(*settings) }

// LiveOption is an [Option] that [Client.Update] takes too.
type LiveOption interface {
	Option
	live()
}

// MethodOption is a [LiveOption] that [ForMethod] takes too: it applies to every method
// of the client, or to those a pattern names.
type MethodOption interface {
	LiveOption
	method(*methodSettings)
	aspect() string
}

// CallOption is a [MethodOption] that [ForCall] takes too: it applies to one call. What
// counts many calls of a method (its limit of concurrency, its rate, its throttle and its
// breaker) can only be switched off for one; what belongs to the client or to an instance
// (their breakers, the limits of instances and streams, the budget) is as it is.
type CallOption interface {
	MethodOption
	call(*methodSettings)
}

// WithOptions bundles options. They apply in order; of options that set the same
// thing, the last wins.
func WithOptions(opts ...Option) Option {
	return fixed(func(s *settings) {
		for n, o := range opts {
			if o == nil {
				s.fail(fmt.Errorf("surecall: WithOptions: option %d is nil", n))
				continue
			}
			o.client(s)
		}
	})
}

// WithInsecure connects without transport security. One of it and
// [WithTransportCredentials] is required: security is never guessed.
func WithInsecure() Option {
	return fixed(func(s *settings) { s.credentials = insecure.NewCredentials() })
}

// WithTransportCredentials connects with c, TLS for example. The name in a server's
// certificate is checked against the instance's own ServerName if the source gives one,
// else against the authority: "NAME.service.consul" for a target of Consul, the name of
// the service for other sources.
func WithTransportCredentials(c credentials.TransportCredentials) Option {
	return fixed(func(s *settings) { s.credentials = c })
}

// WithSource takes instances from source instead of what the target's scheme names. The
// target's path is the name of the service.
func WithSource(source discovery.Source) Option {
	return fixed(func(s *settings) {
		s.source = source
		if source == nil {
			s.fail(errors.New("surecall: WithSource: nil: want a source"))
		}
	})
}

// WithLoss says what to do when most instances vanish from the source at once. By
// default that is doubted: see [resolver.Loss].
func WithLoss(l resolver.Loss) Option {
	return fixed(func(s *settings) {
		s.loss = l
		s.fail(l.Validate())
	})
}

// WithContextDialer connects through dial, which is given an instance's address as the
// source has it ("host:port" or "unix:path"). TLS stays above it. For targets of gRPC's own
// ("dns:///orders:50051") surecall dials only through one given here: gRPC's own dialing
// heeds HTTPS_PROXY, but leaves a black-holed connection open for a quarter of an hour,
// and one to an instance that hangs cannot be closed.
func WithContextDialer(dial func(ctx context.Context, address string) (net.Conn, error)) Option {
	return fixed(func(s *settings) {
		s.dialer = dial
		if dial == nil {
			s.fail(errors.New("surecall: WithContextDialer: nil: want a function"))
		}
	})
}

// WithIdleTimeout closes all connections after d without a call; the next call opens
// them again. By default they stay open: a connection costs about 50 KiB, and a call
// that has to open one waits for it. For programs with thousands of clients.
func WithIdleTimeout(d time.Duration) Option {
	return fixed(func(s *settings) {
		s.idle = d
		if d < 0 {
			s.fail(fmt.Errorf("surecall: WithIdleTimeout %v: want 0 (never) or more", d))
		}
	})
}

// WithHealthService names the service that instances are asked about in their health
// Watch. By default it is the server as a whole, "".
func WithHealthService(name string) Option {
	return fixed(func(s *settings) { s.health.Service, s.health.Unwatched = name, false })
}

// WithoutHealthWatch does not watch what instances say of their own health. An instance
// that leaves is then noticed by its answers, by its connection and by the source.
func WithoutHealthWatch() Option { return fixed(func(s *settings) { s.health.Unwatched = true }) }

// WithActiveProbe probes each instance that has answered nothing for d, so that one that
// hangs is ejected before a call meets it: at the latest d and 100 ms later. By default
// idle instances are not probed. It costs each client and instance, while idle, one
// small request and one wake-up each d; at least 50 ms.
func WithActiveProbe(d time.Duration) Option {
	return fixed(func(s *settings) {
		s.health.Probe = d
		if d < minProbe {
			s.fail(fmt.Errorf("surecall: WithActiveProbe %v: want at least %v", d, minProbe))
		}
	})
}

// minProbe is the shortest interval of probes: below it they are load.
const minProbe = 50 * time.Millisecond

// WithDialOptions passes gRPC's own options through. User interceptors among them run
// outside surecall's. An option that surecall sets itself is an error that says what to
// use instead.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return fixed(func(s *settings) { s.dial = append(s.dial, opts...) })
}

// WithEvents has h told what surecall decides: see package event. Given more than once,
// each handler is told.
func WithEvents(h event.Handler) LiveOption {
	return live(func(s *settings) { s.events = event.Tee(s.events, h) })
}

// WithBalancer spreads calls by p.
func WithBalancer(p balancer.Policy) LiveOption {
	return live(func(s *settings) {
		s.balancer = p
		s.fail(p.Validate())
	})
}

// WithBreaker gives each instance a breaker of policy p. By default it is
// breaker.Policy{}.
func WithBreaker(p breaker.Policy) LiveOption {
	return live(func(s *settings) {
		s.breaker = &p
		s.fail(p.Validate())
	})
}

// WithoutBreaker ejects no instance for its failures. One that hangs is ejected still.
func WithoutBreaker() LiveOption { return live(func(s *settings) { s.breaker = nil }) }

// WithServiceBreaker gives the service a breaker of policy p. By default it is
// breaker.ServicePolicy{}.
func WithServiceBreaker(p breaker.ServicePolicy) LiveOption {
	return live(func(s *settings) {
		s.service = &p
		s.fail(p.Validate())
	})
}

// WithoutServiceBreaker lets calls wait on a service of which nothing answers.
func WithoutServiceBreaker() LiveOption { return live(func(s *settings) { s.service = nil }) }

// WithClassifier replaces the table that decides what the end of an attempt means for
// its instance: breaker.Classify.
func WithClassifier(c breaker.Classifier) LiveOption {
	return live(func(s *settings) {
		s.classify = c
		if c == nil {
			s.fail(errors.New("surecall: WithClassifier: nil: want a function, breaker.Classify is the default"))
		}
	})
}

// WithRetryBudget bounds the retries of all calls together. By default it is
// retry.BudgetPolicy{}.
func WithRetryBudget(p retry.BudgetPolicy) LiveOption {
	return live(func(s *settings) {
		s.budget = p
		s.fail(p.Validate())
	})
}

// WithIdempotent declares methods that may be executed twice with the effect of once,
// beside those whose proto file says so (option idempotency_level). Patterns are those
// of [ForMethod].
func WithIdempotent(patterns ...string) LiveOption { return idempotency(true, patterns) }

// WithNotIdempotent declares methods that must not, whatever their proto file says.
func WithNotIdempotent(patterns ...string) LiveOption { return idempotency(false, patterns) }

func idempotency(is bool, patterns []string) LiveOption {
	return live(func(s *settings) {
		for _, p := range patterns {
			s.rule(p, idempotent(is))
		}
	})
}

// ForMethod applies options to the methods that pattern names: a full method
// ("/orders.v1.Orders/Get"), or the beginning of some and a star ("/orders.v1.Orders/Get*",
// "/orders.v1.Orders/*", "*"). Of several patterns that fit a method, all apply, and
// what the longest says wins; an exact name is the longest.
func ForMethod(pattern string, opts ...MethodOption) LiveOption {
	return live(func(s *settings) { s.rule(pattern, opts...) })
}

// WithCallDeadline bounds a call, all its attempts together, if the caller's context
// has no deadline. Default 5 s. Streams are bounded only by a ForMethod that names them.
func WithCallDeadline(d time.Duration) CallOption {
	return perCall("deadline", func(m *methodSettings) {
		m.deadline, m.streams, m.ownDeadline = d, d, true
		if d <= 0 {
			m.fail(fmt.Errorf("surecall: WithCallDeadline %v: want more than 0, or WithoutCallDeadline()", d))
		}
	})
}

// WithoutCallDeadline lets calls without a deadline wait for ever.
func WithoutCallDeadline() CallOption {
	return perCall("deadline", func(m *methodSettings) { m.deadline, m.streams = 0, 0 })
}

// WithAttemptTimeout bounds an attempt of an idempotent method, so that another can
// follow on another instance. By default it is AttemptTimeout{}, which learns.
func WithAttemptTimeout(t AttemptTimeout) CallOption {
	return perCall("attempt timeout", func(m *methodSettings) {
		m.attempt = &t
		m.fail(t.Validate())
	})
}

// WithoutAttemptTimeout lets an attempt last as long as its call, unless its instance
// hangs.
func WithoutAttemptTimeout() CallOption {
	return perCall("attempt timeout", func(m *methodSettings) { m.attempt = nil })
}

// WithRetry retries by p. By default it is retry.Policy{}.
func WithRetry(p retry.Policy) CallOption {
	return perCall("retry", func(m *methodSettings) {
		m.retry = &p
		m.fail(p.Validate())
	})
}

// WithHedge sends a second attempt of an idempotent method, to another instance, beside
// one that takes long; the first answer wins, the other attempt is cancelled, and the
// call returns when that has ended. By default nothing is hedged. The second attempt is
// sent only if it is paid for by the budget that retries share, there is time for it, a
// slot under each limit of concurrency, and an instance that is free of the first. It
// needs replies that are protocol buffers. Who loses is not blamed; but an instance whose
// replies are slow one upon another may be a suspect for a moment, hedged or not.
func WithHedge(h retry.Hedge) CallOption {
	return perCall("hedge", func(m *methodSettings) {
		m.hedge = &h
		m.fail(h.Validate())
	})
}

// WithoutHedge sends no attempt beside another.
func WithoutHedge() CallOption { return perCall("hedge", func(m *methodSettings) { m.hedge = nil }) }

// AsIdempotent declares that methods, or one call, may be executed twice with the effect
// of once, as [WithIdempotent] does for patterns.
func AsIdempotent() CallOption { return idempotent(true) }

// AsNotIdempotent declares that they must not, whatever their proto file says.
func AsNotIdempotent() CallOption { return idempotent(false) }

func idempotent(is bool) CallOption {
	return perCall("idempotency", func(m *methodSettings) { m.idempotent = &is })
}

// WithCallID sends an ID along that is the same in all attempts of a call, as metadata
// surecall-call-id, so that a server that keeps what it has answered can tell a repeat
// from a new call. Where all servers of a method do, it may be
// declared idempotent although it is not: see package lifecycle/once. A caller that has put
// one into the outgoing metadata itself keeps it. It costs the client five allocations. Streams have none.
func WithCallID() CallOption { return perCall("call ID", func(m *methodSettings) { m.callID = true }) }

// WithoutCallID sends none.
func WithoutCallID() CallOption {
	return perCall("call ID", func(m *methodSettings) { m.callID = false })
}

// WithoutRetry makes one attempt for each call.
func WithoutRetry() CallOption { return WithRetry(retry.Policy{MaxAttempts: 1}) }

// The four kinds of option.
type (
	fixed        func(*settings)
	live         func(*settings)
	methodOption struct {
		about string // of two about the same, the later replaces the earlier
		set   func(*methodSettings)
	}
	callOption struct{ methodOption }
)

func perMethod(about string, set func(*methodSettings)) MethodOption { return methodOption{about, set} }

func perCall(about string, set func(*methodSettings)) CallOption {
	return callOption{methodOption{about, set}}
}

func (o fixed) client(s *settings)              { o(s) }
func (o live) client(s *settings)               { o(s) }
func (live) live()                              {}
func (o methodOption) client(s *settings)       { o.set(&s.base); s.fail(s.base.takeErr()) }
func (methodOption) live()                      {}
func (o methodOption) method(m *methodSettings) { o.set(m) }
func (o methodOption) aspect() string           { return o.about }
func (o callOption) call(m *methodSettings)     { o.set(m) }
