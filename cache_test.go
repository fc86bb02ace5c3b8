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
	"google.golang.org/grpc/status"

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

// A method whose answers are not for the cache has nothing that would cost its calls.
func TestUncacheableHasNoSecondBest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithCache(surecall.CachePolicy{}))
		for method, want := range map[string]bool{getMethod: true, placeMethod: false, cancelMethod: false} {
			if has := surecall.HasSecondBest(client, method); has != want {
				t.Errorf("%s: %v: want %v", method, has, want)
			}
		}
	})
}

// counting answers with how often it was asked, and the first time after a second.
type counting struct {
	orders.UnimplementedOrdersServer
	calls *int
	first error
}

func (c counting) Get(context.Context, *orders.GetRequest) (*orders.Order, error) {
	*c.calls++
	n := *c.calls
	if n == 1 {
		advance(time.Second)
		return &orders.Order{Item: "1"}, c.first
	}
	return &orders.Order{Item: fmt.Sprint(n)}, nil
}

// What a slow call read long ago replaces nothing, and takes nothing back, that was answered
// to a call that began after it.
func TestCacheKeepsTheYounger(t *testing.T) {
	for _, first := range []error{nil, status.Error(codes.NotFound, "not yet")} {
		bubble(t, func(t *testing.T) {
			calls := 0
			cluster := surecalltest.NewClusterOf(t, 1, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
				orders.RegisterOrdersServer(s, counting{calls: &calls, first: first})
			})
			client := cached(t, cluster, surecall.CachePolicy{}, surecall.WithoutRetry(), surecall.WithoutServiceBreaker())
			slow := ask(t.Context(), client)
			advance(100 * time.Millisecond)
			get(t, client)
			if a := <-slow; status.Code(a.err) != status.Code(first) {
				t.Fatal(a.err)
			}
			failAll(cluster, codes.Internal)
			if order, err := unary(t.Context(), client, getMethod); err != nil || order.GetItem() != "2" {
				t.Errorf("%v, %v: want the answer to the call that began last", order, err)
			}
		})
	}
}

// One bound holds for all that a client keeps.
func TestCacheBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		all := surecall.WithOptions(surecall.WithCache(surecall.CachePolicy{}), surecall.ForMethod(placeMethod, surecall.WithCache(surecall.CachePolicy{})))
		client := ready(t, cluster, all, surecall.WithCacheBytes(16*700), surecall.WithoutServiceBreaker(), surecall.WithoutRetry(), surecall.WithoutBreaker())
		stub := orders.NewOrdersClient(client)
		round := func() (answered int) {
			for n := range 100 {
				if _, err := stub.Get(t.Context(), &orders.GetRequest{Id: fmt.Sprint(n)}); err == nil {
					answered++
				}
				if _, err := stub.Place(t.Context(), &orders.PlaceRequest{Item: fmt.Sprint(n)}); err == nil {
					answered++
				}
			}
			return answered
		}
		if n := round(); n != 200 {
			t.Fatalf("%d calls of 200 were answered", n)
		}
		failAll(cluster, codes.Internal)
		if n := round(); n == 0 || n > 2*16 {
			t.Errorf("%d answers are kept: want some, and two in each part at most", n)
		}
		if err := client.Update(surecall.WithCacheBytes(0)); err == nil || !strings.Contains(err.Error(), "WithCacheBytes 0: want at least 1") {
			t.Errorf("error %v", err)
		}
	})
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
