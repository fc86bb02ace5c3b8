package surecall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/answers"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/retry"
)

// Client makes calls to one service. It is a grpc.ClientConnInterface, so generated
// stubs are made from it as from a *grpc.ClientConn, and it is safe for concurrent use.
// Make one for each service and keep it for the life of the program.
type Client struct {
	core     *core
	conn     *grpc.ClientConn
	notifier *notifier
	unfollow func() // ends the watches of policy documents
}

// NewClient returns a client of the service that target names: see [Option] for what
// can be configured, and the package documentation for targets and defaults. It does no
// I/O: the first call connects, or WaitReady. Everything that is wrong with target and
// options is reported in one joined error.
func NewClient(target string, opts ...Option) (*Client, error) {
	c, t, s, err := newCore(target, opts)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(t.dial, c.dialOptions(t, s)...)
	if err != nil {
		return nil, fmt.Errorf("surecall: %w", err)
	}
	return &Client{core: c, conn: conn, notifier: newNotifier(c), unfollow: c.follow()}, nil
}

// DialOptions returns what makes a connection to target surecall's, for frameworks that
// call grpc.NewClient themselves, with the same target. Each result serves one
// connection.
func DialOptions(target string, opts ...Option) ([]grpc.DialOption, error) {
	c, t, s, err := newCore(target, opts)
	if err != nil {
		return nil, err
	}
	if err := c.followedBy(t); err != nil {
		return nil, err
	}
	c.credentialed = true // the framework's own options may have credentials
	return c.dialOptions(t, s), nil
}

// Invoke makes a unary call.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream begins a streaming call.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.conn.NewStream(ctx, desc, method, opts...)
}

// Conn returns the connection beneath, which is just as protected.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Close ends all calls in flight, with the code CANCELED, and everything that the client
// runs in the background. Notifications that are pending are dropped: see [Client.Flush].
func (c *Client) Close() error {
	c.unfollow()
	c.notifier.close()
	err := c.conn.Close()
	c.core.answers.Clear()
	return err
}

// WaitReady connects, and returns when calls can be made or ctx ends. Its error then
// says what is missing.
func (c *Client) WaitReady(ctx context.Context) error {
	c.conn.Connect()
	c.core.awaitDocuments(ctx)
	for {
		state := c.conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Shutdown:
			return fmt.Errorf("surecall: client of %q is closed", c.core.service)
		case connectivity.Idle:
			c.conn.Connect()
		}
		if !c.conn.WaitForStateChange(ctx, state) {
			r := newRejection(ErrNoInstance, c.core.service, "", c.core.fleet.Refusal())
			return fmt.Errorf("%w: %w", context.Cause(ctx), r)
		}
	}
}

// Update applies options to the running client, on top of those it has. Either all are
// applied at once, or none and the error says why. Calls that have begun go on under
// what they began with. What was learned and counted stays: latencies, ejections, the
// budget's tokens, what is in flight under a limit and used up of a rate, if only their
// numbers change; a breaker, a budget, or a limit of another kind begins anew. Policy
// documents come over it, and have to agree with it: see [WithOwnerPolicy].
func (c *Client) Update(opts ...LiveOption) error { return c.core.update(opts) }

// InstanceStatus is one instance at one moment, as [Client.Instances] returns it.
type InstanceStatus = balancer.Status

// Instances returns a copy of what the client holds of each instance right now.
func (c *Client) Instances() []InstanceStatus { return c.core.fleet.Status() }

// core is what the interceptors of one connection share.
type core struct {
	service  string
	fleet    *balancer.Fleet
	state    atomic.Pointer[policies]
	alarms   alarms
	source   resolver.Monitor // shown by Client.Source
	sourced  bool             // the source is ours, and not one of gRPC's own resolvers
	conns    conns
	ledger   atomic.Pointer[ledger]  // of shadow mode, the present or the last one; nil: never
	answers  *answers.Store[inquiry] // what WithCache keeps
	recorder recorder
	target   string    // as gRPC is told it
	since    time.Time // when it was made
	others   tally     // of methods for which there is no room in the table
	// credentialed: gRPC adds credentials to calls, unseen by us.
	credentialed bool
	mu           sync.Mutex // one update at a time

	learning sync.Mutex
	learned  map[string]*methodStats // by method; guarded by learning

	header    *policyHeader                 // nil: none is read
	documents []*document                   // in the order in which they apply
	code      *settings                     // what options say, without the documents; guarded by mu
	coded     time.Time                     // since when; guarded by mu
	layered   atomic.Pointer[[]PolicyLayer] // shown by Client.Policies
}

// policies is everything that Update swaps, as one immutable whole.
type policies struct {
	settings      *settings
	methods       *methods
	service       *breaker.Service // nil: none, or it is switched off
	keptService   *breaker.Service // switched off or not
	dry           *policies        // in shadow mode: what is decided by; nil: all that is decided is done
	trialInterval time.Duration
	budget        *retry.Budget
}

func newCore(text string, opts []Option) (*core, *target, *settings, error) {
	s, err := newSettings(opts)
	t, targetErr := parseTarget(text, s.source)
	documents, documentsErr := newDocuments(s, t)
	if err = errors.Join(targetErr, err, s.checkSource(t), documentsErr); err != nil {
		return nil, nil, nil, err
	}
	s.disableByEnvironment()
	c := &core{service: t.service, target: t.dial, since: time.Now(), learned: map[string]*methodStats{}, answers: answers.New[inquiry](), sourced: t.open != nil, credentialed: hasCredentials(s.dial)}
	c.code, c.coded, c.documents, c.header = s, time.Now(), documents, newPolicyHeader(s.policyHeader)
	c.showLayers()
	c.state.Store(c.newPolicies(s, nil))
	c.fleet = balancer.NewFleet(c.fleetConfig(s))
	c.warn(s, nil)
	c.tellSwitched(s, nil)
	return c, t, s, nil
}

func (c *core) fleetConfig(s *settings) balancer.Config {
	s = s.effective()
	return balancer.Config{
		Service: c.service, Policy: s.balancer, Breaker: s.breaker, Concurrency: s.instance, Streams: s.instanceStreams, Health: s.health, Events: c.emit,
		Sever: c.conns.sever,
		Refuse: func(method string, r balancer.Refusal) error {
			if r.Full > 0 {
				full := newRejection(ErrConcurrency, c.service, method, r)
				full.Cause = limit.ErrLimit
				return full
			}
			return newRejection(ErrNoInstance, c.service, method, r)
		},
		Off:   s.fleetOff(),
		Plain: s.shadow,
	}
}

// compile compiles s for newPolicies.
func (c *core) compile(s *settings, old *policies) *policies {
	p := &policies{settings: s}
	if old == nil {
		p.methods = c.newMethods(s, nil)
		p.budget = retry.NewBudget(s.budget, time.Now())
	} else {
		p.methods = c.newMethods(s, old.methods)
		if p.budget = old.budget; s.budget != old.settings.budget {
			p.budget = retry.NewBudget(s.budget, time.Now())
		}
	}
	if s.service == nil {
		return p
	}
	p.trialInterval = s.service.WithDefaults().TrialInterval
	on := !s.off().has(ProtectionServiceBreaker)
	if old != nil && old.keptService != nil && *s.service == *old.settings.service {
		if p.keptService = old.keptService; on {
			p.service = p.keptService
		}
		return p
	}
	p.keptService = breaker.NewService(*s.service, func(change breaker.Change) {
		if change.From == breaker.StateOpen && change.To == breaker.StateClosed && !change.DryRun {
			c.fleet.Recovered()
			c.state.Load().methods.recovered()
		}
		c.emit(event.ServiceBreakerChanged{Service: c.service, Open: change.To == breaker.StateOpen, DryRun: change.DryRun, Why: change.Why})
	})
	if old != nil && old.keptService != nil {
		p.keptService.SetMode(old.keptService.Counts().Mode)
	}
	if on {
		p.service = p.keptService
	}
	return p
}

func (c *core) update(opts []LiveOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	code, err := c.code.updated(opts)
	if err != nil {
		return err
	}
	s, err := c.under(code, nil, nil)
	if err != nil {
		return fmt.Errorf("surecall: with the policy documents that are in force: %w", err)
	}
	c.code, c.coded = code, time.Now()
	c.install(s)
	events := c.retryRefused()
	c.showLayers()
	for _, e := range events {
		c.emit(e)
	}
	return nil
}

// install puts s in force. It requires c.mu.
func (c *core) install(s *settings) {
	old := c.state.Load()
	c.state.Store(c.newPolicies(s, old))
	c.fleet.Configure(c.fleetConfig(s))
	c.warn(s, old.settings)
	c.tellSwitched(s, old.settings)
}

// warn tells of what is likely not meant, patterns that fit no method among it: they may
// be misspelt. What was so before has been told.
func (c *core) warn(s, before *settings) {
	tell := func(what string) { c.emit(event.ConfigWarning{Service: c.service, What: what}) }
	var told []string
	if before != nil {
		told = before.doubts()
	}
	for _, what := range s.doubts() {
		if !slices.Contains(told, what) {
			tell(what)
		}
	}
	for _, pattern := range unmatched(s) {
		if before == nil || !slices.Contains(before.patterns(), pattern) {
			tell(fmt.Sprintf("method pattern %q fits no method of the linked descriptors", pattern))
		}
	}
}

// emit tells the recorder and the handler of the present policies.
func (c *core) emit(e event.Event) {
	c.recorder.note(e)
	if h := c.state.Load().settings.events; h != nil {
		h(e)
	}
}

// end tells of a call's end whoever wants to know, and counts it. It returns what the
// caller gets. m is nil if the call's options were wrong.
func (c *core) end(state *policies, m *method, name string, asked *asked, err error, began time.Time) error {
	if m == nil {
		m = state.methods.find(name)
		m.count.made(0)
	}
	code := codes.OK
	if err != nil {
		how := Explain(err)
		if how == nil { // its options were wrong
			how = &Explanation{Service: c.service, Idempotent: m.idempotent}
			how.Call = CallTrace{Method: name, Began: began, Took: time.Since(began), Err: err}
			err = &callError{err, how}
		}
		c.keep(how)
		code = codeOf(err)
	}
	m.count.end(err, code)
	asked.end(err, began)
	if err != nil && state.settings.events != nil && isRejection(err) {
		state.settings.events(event.CallRejected{Service: c.service, Method: name, Err: err})
	}
	return err
}
