package surecall_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// echo answers with who asked, as far as its metadata says.
type echo struct {
	orders.UnimplementedOrdersServer
}

func (echo) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	who := metadata.ValueFromIncomingContext(ctx, "authorization")
	return &orders.Order{Id: r.GetId(), Item: strings.Join(who, ",")}, nil
}

// token are the credentials of one user.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": string(t)}, nil
}
func (token) RequireTransportSecurity() bool { return false }

// Nobody is ever served what was answered to somebody else: only calls that agree in all
// that may say who asks share an answer.
func TestCacheDoesNotLeak(t *testing.T) {
	as := func(who string) []string { return []string{"authorization", who} }
	for _, test := range []struct {
		name          string
		policy        surecall.CachePolicy
		first, second []string // metadata
		firstOption   grpc.CallOption
		secondOption  grpc.CallOption
		shared        bool
		warning       string // of the first that is not cached; empty: none
	}{
		{name: "no metadata", shared: true},
		{name: "two users", first: as("ann"), second: as("bob"), warning: `metadata "authorization"`},
		{name: "one user, not named", first: as("ann"), second: as("ann"), warning: `metadata "authorization"`},
		{name: "nobody, then a user", second: as("bob"), warning: `metadata "authorization"`},
		{name: "two users, named", policy: surecall.CachePolicy{Vary: []string{"Authorization"}}, first: as("ann"), second: as("bob")},
		{name: "one user, named", policy: surecall.CachePolicy{Vary: []string{"Authorization"}}, first: as("ann"), second: as("ann"), shared: true},
		{name: "a user, then nobody, named", policy: surecall.CachePolicy{Vary: []string{"authorization"}}, first: as("ann")},
		{name: "an empty user, then nobody, named", policy: surecall.CachePolicy{Vary: []string{"authorization"}}, first: as("")},
		{name: "one value or two, named", policy: surecall.CachePolicy{Vary: []string{"authorization"}},
			first: append(as("a"), as("b")...), second: as("ab")},
		{name: "two values, cut elsewhere, named", policy: surecall.CachePolicy{Vary: []string{"authorization"}},
			first: append(as("a"), as("bc")...), second: append(as("ab"), as("c")...)},
		{name: "values of two keys", policy: surecall.CachePolicy{Vary: []string{"a", "b"}}, first: []string{"a", "x"}, second: []string{"b", "x"}},
		{name: "another key, not named", policy: surecall.CachePolicy{Vary: []string{"authorization"}},
			first: append(as("ann"), "tenant", "1"), second: append(as("ann"), "tenant", "2"), warning: `metadata "tenant"`},
		{name: "ignored", policy: surecall.CachePolicy{Ignore: []string{"X-Request-ID"}},
			first: []string{"x-request-id", "1"}, second: []string{"x-request-id", "2"}, shared: true},
		{name: "tracing and ours", first: []string{"traceparent", "1", "surecall-priority", "critical"}, second: []string{"tracestate", "2"}, shared: true},
		{name: "a key of the user's that looks like ours", first: []string{"surecall-tenant", "1"}, second: []string{"surecall-tenant", "2"},
			warning: `metadata "surecall-tenant"`},
		{name: "credentials of the call", firstOption: grpc.PerRPCCredentials(token("ann")), secondOption: grpc.PerRPCCredentials(token("bob")),
			warning: "per-RPC credentials"},
		{name: "credentials cannot vary", policy: surecall.CachePolicy{Vary: []string{"authorization"}},
			firstOption: grpc.PerRPCCredentials(token("ann")), secondOption: grpc.PerRPCCredentials(token("bob")), warning: "per-RPC credentials"},
		{name: "credentials, ignored", policy: surecall.CachePolicy{Ignore: []string{"authorization"}},
			firstOption: grpc.PerRPCCredentials(token("ann")), shared: true},
		{name: "another authority", secondOption: grpc.CallAuthority("elsewhere")},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewClusterOf(t, 1, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
					orders.RegisterOrdersServer(s, echo{})
				}), &log{}
				test.policy.Fresh = time.Hour
				client := cached(t, cluster, test.policy, events.option())
				call := func(pairs []string, option grpc.CallOption) string {
					ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(pairs...))
					var options []grpc.CallOption
					if option != nil {
						options = append(options, option)
					}
					order, err := unary(ctx, client, getMethod, options...)
					if err != nil {
						t.Fatal(err)
					}
					return order.GetItem()
				}
				first := call(test.first, test.firstOption)
				second := call(test.second, test.secondOption)
				if shared := cluster.Instance(0).Calls() == 1; shared != test.shared {
					t.Errorf("shared: %v (%q, %q): want %v", shared, first, second, test.shared)
				}
				cluster.Instance(0).Fail(codes.Internal)
				ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(test.first...))
				if order, err := unary(ctx, client, getMethod); err == nil && order.GetItem() != first {
					t.Errorf("in the end %q: want %q or nothing", order.GetItem(), first)
				}
				warned := eventsOf[event.ConfigWarning](events)
				if test.warning == "" && len(warned) > 0 || test.warning != "" && (len(warned) != 1 || !strings.Contains(warned[0].What, test.warning)) {
					t.Errorf("warnings %+v: want one with %q", warned, test.warning)
				}
			})
		})
	}
}

// Credentials that gRPC adds to all calls may come from each call's context, and those of
// a framework's connection cannot be seen.
func TestCacheWithCredentialsOfTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		framework := func(opts ...surecall.Option) *grpc.ClientConn {
			options, err := surecall.DialOptions("memory:///orders", append(opts, cluster.Options())...)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := grpc.NewClient("memory:///orders", append(options, grpc.WithPerRPCCredentials(token("ann")))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		credentials := surecall.WithDialOptions(grpc.WithPerRPCCredentials(token("ann")), grpc.WithUserAgent("x"))
		for name, test := range map[string]struct {
			conn   func(...surecall.Option) grpc.ClientConnInterface
			ignore []string
			asked  int
		}{
			"client":          {func(o ...surecall.Option) grpc.ClientConnInterface { return cluster.Client(append(o, credentials)...) }, nil, 2},
			"client, ignored": {func(o ...surecall.Option) grpc.ClientConnInterface { return cluster.Client(append(o, credentials)...) }, []string{"authorization"}, 1},
			"framework":       {func(o ...surecall.Option) grpc.ClientConnInterface { return framework(o...) }, nil, 2},
			"framework, ignored": {
				func(o ...surecall.Option) grpc.ClientConnInterface { return framework(o...) }, []string{"authorization"}, 1},
		} {
			before := cluster.Instance(0).Calls()
			conn := test.conn(surecall.ForMethod(getMethod, surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour, Ignore: test.ignore})))
			get(t, conn)
			get(t, conn)
			if asked := cluster.Instance(0).Calls() - before; asked != test.asked {
				t.Errorf("%s: asked %d times: want %d", name, asked, test.asked)
			}
		}
	})
}
