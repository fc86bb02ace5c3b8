package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

// Config says what a server is and where callers find it. Service and one of Listen and
// Listener are required; the zero value of everything else is its default.
type Config struct {
	// Service is the name that callers look for.
	Service string
	// ID names this instance uniquely within the service. Default Service-Address.
	ID string

	// Listen is the TCP address to listen on: "10.0.0.7:50051", ":50051", "127.0.0.1:0".
	Listen string
	// Listener is used in place of Listen. The Life closes it.
	Listener net.Listener
	// Address is what callers dial: "host:port" or "unix:/path". A port of 0 stands for the
	// listener's. Default: the listener's own address; if that is an unspecified one
	// (":50051"), the machine's only address that is not loopback, and an error if there
	// are several.
	Address string
	// Weight is the instance's share of calls relative to the others. Default 1.
	Weight int
	// Zone and Region say where the instance runs. Default unknown.
	Zone, Region string
	// Tags and Meta are the registration's labels.
	Tags []string
	Meta map[string]string
	// TTL is how long the registry believes a heart-beat, which comes from a call that
	// the server answers itself, each TTL/3. Default 15 s, at least 1 s.
	TTL time.Duration
	// GRPC, if set, makes the registry call the health service instead.
	GRPC *discovery.GRPCCheck
	// Registrars are where the instance is registered; none means nowhere (a Kubernetes
	// service, say).
	Registrars []discovery.Registrar
	// Also is registered and taken out together with the above: other names, other ports.
	// An empty Address is that of this instance. A Health of its own is reported where it is
	// worse than the server's.
	Also []discovery.Registration

	// Credentials are the server's transport credentials. Given here and not with
	// grpc.Creds, they leave out the connection over which the server calls itself.
	// Default none.
	Credentials credentials.TransportCredentials
	// Health is the health service to use if the program has one of its own. Default a new
	// one, see [Life.Health].
	Health *health.Server

	// Steps warm the server up, in order, before anybody is told of it.
	Steps []Step
	// Extra are servers beside gRPC that start and leave with it.
	Extra []Extra
	// Hooks run in order at the end of each life that was started, also in vain: no
	// handler runs any more, or none ever did.
	Hooks []Hook

	// Drain says how long each step of leaving may take.
	Drain Drain
	// Admin is the HTTP endpoint for operators. Default none.
	Admin Admin

	// Events receives LifecycleStep, RegistrationDegraded and RegistrationRecovered.
	// Default none.
	Events event.Handler
	// Logger gets a line at the beginning and at the end of each step. Default
	// slog.Default(); slog.New(slog.DiscardHandler) for silence.
	Logger *slog.Logger
}

// Step is one part of warming up.
type Step struct {
	Name string
	// Timeout ends Run's context. Default 30 s.
	Timeout time.Duration
	// Optional: a failure is reported and passed over. Otherwise it ends the start.
	Optional bool
	// Run does the step. conn leads to this server, inside the process; calls over it
	// are in no count.
	Run func(ctx context.Context, conn *grpc.ClientConn) error
}

// Extra is a server beside gRPC, net/http's for one.
type Extra struct {
	Name string
	// Serve blocks until Shutdown is called. If it returns before, the whole server leaves.
	Serve func() error
	// Shutdown ends Serve, gracefully while ctx lasts. It is called after calls have ceased
	// to come and before gRPC stops, since gateways lead to it.
	Shutdown func(ctx context.Context) error
}

// Hook is something to do at the very end, such as closing a database.
type Hook struct {
	Name string
	// Run's context ends with Drain.Hooks, which all hooks share, and at once when the
	// server was told to stop at once.
	Run func(ctx context.Context) error
}

// Admin is the HTTP endpoint for operators and for what runs the process: see the
// package's documentation.
type Admin struct {
	// Address to listen on. Without a host (":9901") it is 127.0.0.1. Empty means no
	// endpoint.
	Address string
	// GetOffline lets GET /offline drain too, which an httpGet hook of Kubernetes needs.
	GetOffline bool
	// Hosts are the names under which the endpoint may be told to change something, beside
	// IP addresses and localhost.
	Hosts []string
}

// Drain is how long each step of leaving may take. A zero field is its default; where a
// step shall take no time, 1ns does it.
type Drain struct {
	// Deregister bounds the removal from all registries. Default 3 s.
	Deregister time.Duration
	// Propagation is how long the server serves on as if nothing had happened, so that the
	// last caller learns of it. Default 2 s: Consul's watchers need 0.15 s.
	Propagation time.Duration
	// Quiet is how long no new call must have come before leaving goes on. Default 500 ms.
	Quiet time.Duration
	// Wait bounds the wait for the quiet and for the calls in flight. Default 10 s.
	Wait time.Duration
	// Extra bounds the graceful shutdown of the servers beside gRPC. Default 2 s.
	Extra time.Duration
	// Stop bounds gRPC's graceful stop; then calls are cut off. Default 3 s.
	Stop time.Duration
	// Hooks bounds all hooks together. Default 3 s.
	Hooks time.Duration
	// RefuseAtOnce refuses calls of callers that can be told "never executed" from the
	// beginning. Default false: they are served until gRPC stops.
	RefuseAtOnce bool
}

const defaultStepTimeout = 30 * time.Second

func (d Drain) withDefaults() Drain {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&d.Deregister, 3 * time.Second},
		{&d.Propagation, 2 * time.Second},
		{&d.Quiet, 500 * time.Millisecond},
		{&d.Wait, 10 * time.Second},
		{&d.Extra, 2 * time.Second},
		{&d.Stop, 3 * time.Second},
		{&d.Hooks, 3 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return d
}

func (c Config) withDefaults() Config {
	if c.Health == nil {
		c.Health = health.NewServer()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Drain = c.Drain.withDefaults()
	return c
}

// validate reports everything that is wrong with c as far as it can be seen without
// doing anything, joined. What is registered is looked at once the address is known.
func (c Config) validate() error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("lifecycle: config "+format, args...))
	}
	if c.Service == "" {
		fail("Service is empty: want the name that callers look for")
	}
	switch {
	case c.Listen == "" && c.Listener == nil:
		fail("Listen and Listener are empty: want one of them")
	case c.Listen != "" && c.Listener != nil:
		fail("Listen %q and Listener %v: want only one of them", c.Listen, c.Listener.Addr())
	}
	for i, r := range c.Registrars {
		if r == nil {
			fail("Registrars[%d] is nil", i)
		}
	}
	for i, s := range c.Steps {
		if s.Name == "" || s.Run == nil || s.Timeout < 0 {
			fail("Steps[%d] %q: want a Name, a Run and a Timeout of 0 (means %v) or more", i, s.Name, defaultStepTimeout)
		}
	}
	for i, e := range c.Extra {
		if e.Name == "" || e.Serve == nil || e.Shutdown == nil {
			fail("Extra[%d] %q: want a Name, a Serve and a Shutdown", i, e.Name)
		}
	}
	for i, h := range c.Hooks {
		if h.Name == "" || h.Run == nil {
			fail("Hooks[%d] %q: want a Name and a Run", i, h.Name)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Deregister", c.Drain.Deregister},
		{"Propagation", c.Drain.Propagation},
		{"Quiet", c.Drain.Quiet},
		{"Wait", c.Drain.Wait},
		{"Extra", c.Drain.Extra},
		{"Stop", c.Drain.Stop},
		{"Hooks", c.Drain.Hooks},
	} {
		if d.value < 0 {
			fail("Drain.%s %v: want 0 (the default) or more", d.name, d.value)
		}
	}
	return errors.Join(errs...)
}
