package surecall_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// cached is a client of the cluster that caches Get by p.
func cached(t *testing.T, c *surecalltest.Cluster, p surecall.CachePolicy, opts ...surecall.Option) *surecall.Client {
	t.Helper()
	return ready(t, c, append(opts, surecall.ForMethod(getMethod, surecall.WithCache(p)))...)
}

// An answer is fresh for a while, and its caller's own.
func TestFreshCache(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Second}, events.option())
		var trace surecall.CallTrace
		var header metadata.MD
		finished := 0
		options := []grpc.CallOption{
			surecall.Trace(&trace), grpc.Header(&header), grpc.OnFinish(func(error) { finished++ }),
		}
		first := get(t, client)
		first.Item = "changed by its owner"
		advance(250 * time.Millisecond)
		order, err := unary(t.Context(), client, getMethod, options...)
		if err != nil || order.GetServedBy() != first.GetServedBy() || order.GetItem() != "" || sum(reached(cluster)) != 1 {
			t.Errorf("%v, %v, %d calls: want the first answer as it came", order, err, sum(reached(cluster)))
		}
		if trace.SecondBest != event.FreshCache || trace.Age != 250*time.Millisecond || len(trace.Attempts) != 0 || finished != 1 {
			t.Errorf("trace %+v, finished %d times", trace, finished)
		}
		if by, age := header.Get(surecall.ServedByKey), header.Get(surecall.AgeKey); !slices.Equal(by, []string{"fresh cache"}) || !slices.Equal(age, []string{"0.250"}) {
			t.Errorf("header %v: want who answered and its age", header)
		}
		told := eventsOf[event.CallServedSecondBest](events)
		if len(told) != 1 || told[0].Cause != nil || told[0].Age != 250*time.Millisecond {
			t.Errorf("events %+v: want one, without a cause", told)
		}
		other, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "2"})
		if err != nil || other.GetId() != "2" || sum(reached(cluster)) != 2 {
			t.Errorf("another request: %v, %v", other, err)
		}
		if _, err := unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithoutCache())); err != nil || sum(reached(cluster)) != 3 {
			t.Errorf("without cache: %v, %d calls", err, sum(reached(cluster)))
		}
		advance(750*time.Millisecond + 1)
		if get(t, client); sum(reached(cluster)) != 4 {
			t.Errorf("%d calls: want the instance asked again after a second", sum(reached(cluster)))
		}
	})
}

// An old answer is the call's when all else failed, unless it is too old, or was taken
// back.
func TestStaleCache(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := cached(t, cluster, surecall.CachePolicy{}, events.option(), surecall.WithoutServiceBreaker())
		get(t, client)
		if get(t, client); sum(reached(cluster)) != 2 {
			t.Fatalf("%d calls: want an instance asked each time", sum(reached(cluster)))
		}
		failAll(cluster, codes.Internal)
		advance(surecall.DefaultCacheStale)
		var trace surecall.CallTrace
		order, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace))
		if err != nil || order.GetId() != "1" || trace.SecondBest != event.StaleCache || trace.Age != surecall.DefaultCacheStale {
			t.Errorf("%v, %v, trace %+v: want the last answer", order, err, trace)
		}
		if told := eventsOf[event.CallServedSecondBest](events); len(told) != 1 || told[0].Cause == nil {
			t.Errorf("events %+v: want one, with the cause", told)
		}
		if _, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "2"}); err == nil {
			t.Error("another request has an answer")
		}
		advance(1)
		if _, err := unary(t.Context(), client, getMethod); err == nil {
			t.Error("an answer that is too old was served")
		}
		for _, code := range []codes.Code{codes.NotFound, codes.PermissionDenied} {
			failAll(cluster, codes.OK)
			get(t, client)
			failAll(cluster, code)
			if _, err := unary(t.Context(), client, getMethod); err == nil {
				t.Errorf("%v was overruled by an old answer", code)
			}
			failAll(cluster, codes.Internal)
			if _, err := unary(t.Context(), client, getMethod); err == nil {
				t.Errorf("an answer was served that %v had taken back", code)
			}
		}
	})
}

// Whatever the time of a call is used up by, its old answer comes at the deadline.
func TestStaleCacheAfterDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cached(t, cluster, surecall.CachePolicy{})
		get(t, client)
		hangAll(cluster)
		defer resumeAll(cluster)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if order, err := unary(ctx, client, getMethod); err != nil || order.GetId() != "1" || time.Since(began) != time.Second {
			t.Errorf("%v, %v after %v", order, err, time.Since(began))
		}
	})
}

func TestCacheFreshOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Second, FreshOnly: true})
		get(t, client)
		failAll(cluster, codes.Internal)
		get(t, client)
		advance(time.Second + 1)
		if order, err := unary(t.Context(), client, getMethod); err == nil {
			t.Errorf("%v: want nothing that is not fresh", order)
		}
	})
}

// A reply that the retry policy hopes to better is served for want of one, but not kept.
func TestCacheKeepsWantedReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Hour},
			surecall.WithRetry(retry.Policy{Unwanted: func(any) bool { return true }}))
		get(t, client)
		before := sum(reached(cluster))
		if get(t, client); sum(reached(cluster)) == before {
			t.Error("a reply that is not wanted was kept")
		}
	})
}

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

// Only what has no side effects is cached: by the proto file, or by name if that says
// nothing.
func TestCacheableMethods(t *testing.T) {
	policy := surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour})
	for _, test := range []struct {
		name   string
		method string
		option surecall.Option
		call   []grpc.CallOption
		cached bool
	}{
		{name: "all, no side effects", method: getMethod, option: policy, cached: true},
		{name: "all, idempotent", method: cancelMethod, option: policy},
		{name: "all, neither", method: placeMethod, option: policy},
		{name: "a star, no side effects", method: getMethod, option: surecall.ForMethod("/orders.v1.Orders/G*", policy), cached: true},
		{name: "a star, neither", method: placeMethod, option: surecall.ForMethod("/orders.v1.Orders/Place*", policy)},
		{name: "by name, neither", method: placeMethod, option: surecall.ForMethod(placeMethod, policy), cached: true},
		{name: "by name, declared not idempotent", method: placeMethod, option: surecall.WithOptions(
			surecall.ForMethod(placeMethod, policy), surecall.WithNotIdempotent("*"))},
		{name: "declared idempotent", method: placeMethod, option: surecall.WithOptions(policy, surecall.WithIdempotent(placeMethod))},
		{name: "switched off by name", method: getMethod, option: surecall.WithOptions(policy, surecall.ForMethod(getMethod, surecall.WithoutCache()))},
		{name: "for the call", method: placeMethod, option: surecall.WithOptions(), call: []grpc.CallOption{surecall.ForCall(policy)}, cached: true},
		{name: "for the call, idempotent", method: cancelMethod, option: surecall.WithOptions(), call: []grpc.CallOption{surecall.ForCall(policy)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				client := ready(t, cluster, test.option)
				for range 2 {
					if _, err := unary(t.Context(), client, test.method, test.call...); err != nil {
						t.Fatal(err)
					}
				}
				if cached := cluster.Instance(0).Calls() == 1; cached != test.cached {
					t.Errorf("cached: %v: want %v", cached, test.cached)
				}
			})
		})
	}
	for pattern, want := range map[string]string{cancelMethod: "IDEMPOTENT", watchMethod: "streams"} {
		_, err := surecall.NewClient("memory:///orders", surecall.WithInsecure(), surecall.ForMethod(pattern, policy))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), pattern) {
			t.Errorf("%s: error %v: want %q in it", pattern, err, want)
		}
	}
}

// What is kept outlives Update, unless calls would then be served what was kept under
// other rules.
func TestUpdateKeepsCache(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		policy := surecall.CachePolicy{Fresh: time.Hour, Ignore: []string{"tenant"}}
		client := cached(t, cluster, policy)
		asked := func() bool {
			before := cluster.Instance(0).Calls()
			get(t, client)
			return cluster.Instance(0).Calls() > before
		}
		update := func(p surecall.CachePolicy) {
			if err := client.Update(surecall.ForMethod(getMethod, surecall.WithCache(p))); err != nil {
				t.Fatal(err)
			}
		}
		if !asked() || asked() {
			t.Fatal("the cache does not work")
		}
		policy.Fresh = 2 * time.Hour
		if update(policy); asked() {
			t.Error("asked after a change of Fresh: want what was kept")
		}
		policy.Ignore = nil
		if update(policy); !asked() {
			t.Error("served what may have been another tenant's")
		}
		if err := client.Update(surecall.WithoutCache()); err != nil {
			t.Fatal(err)
		}
		if asked(); asked() {
			t.Error("WithoutCache of all switches a named method's off")
		}
		off := surecall.ForMethod(getMethod, surecall.WithoutCache())
		if err := client.Update(off); err != nil {
			t.Fatal(err)
		}
		if update(policy); !asked() {
			t.Error("what was kept outlived the last cache")
		}
	})
}

func TestCachePolicyValidate(t *testing.T) {
	for _, test := range []struct {
		policy surecall.CachePolicy
		want   []string
	}{
		{surecall.CachePolicy{}, nil},
		{surecall.CachePolicy{Fresh: time.Hour}, nil},
		{surecall.CachePolicy{Fresh: time.Hour, Stale: time.Hour}, nil},
		{surecall.CachePolicy{Fresh: time.Hour, FreshOnly: true, Vary: []string{"a"}, Ignore: []string{"b"}}, nil},
		{surecall.CachePolicy{Fresh: -1}, []string{"Fresh -1ns"}},
		{surecall.CachePolicy{Fresh: time.Hour, Stale: time.Minute}, []string{"Stale 1m0s", "at least Fresh, 1h0m0s"}},
		{surecall.CachePolicy{Stale: -1}, []string{"Stale -1ns"}},
		{surecall.CachePolicy{FreshOnly: true}, []string{"FreshOnly with Fresh 0"}},
		{surecall.CachePolicy{Fresh: time.Minute, Stale: time.Hour, FreshOnly: true}, []string{"Stale 1h0m0s with FreshOnly"}},
		{surecall.CachePolicy{Vary: []string{"Tenant"}, Ignore: []string{"tenant", ""}}, []string{`both have "tenant"`, "empty key"}},
	} {
		err := test.policy.Validate()
		if (err != nil) != (test.want != nil) {
			t.Errorf("%+v: error %v", test.policy, err)
		}
		for _, want := range test.want {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%+v: error %v: want %q in it", test.policy, err, want)
			}
		}
	}
}
