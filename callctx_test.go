package surecall_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// A call's priority is sent along with retries and streams too.
func TestPriorityIsSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sent := &overheard{key: "surecall-priority"}
		cluster := surecalltest.NewCluster(t, 2, sent.listen()...)
		client := ready(t, cluster)
		for _, test := range []struct {
			ctx  context.Context
			want string
		}{
			{t.Context(), ""},
			{surecall.WithPriority(t.Context(), limit.Sheddable), "sheddable"},
			{surecall.WithPriority(t.Context(), limit.Normal), "normal"},
			{surecall.WithPriority(t.Context(), limit.Critical), "critical"},
			{surecall.WithPriority(t.Context(), 7), "critical"},
			{surecall.WithPriority(t.Context(), -7), "sheddable"},
		} {
			failFirst(cluster, 1, codes.Unavailable)
			if _, err := unary(test.ctx, client, getMethod); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(test.ctx)
			watch, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
			if err == nil {
				_, err = watch.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			if got := sent.since(); !slices.Equal(got, []string{test.want, test.want}) {
				t.Errorf("%v: a retry and a stream said %q: want %q", limit.FromContext(test.ctx), got, test.want)
			}
		}
	})
}

// relay is an orders service whose handlers call on.
type relay struct {
	orders.UnimplementedOrdersServer
	next func(ctx context.Context) (*orders.Order, error)
}

func (r relay) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	return r.next(ctx)
}

// The priority goes down a chain of services: what a handler of a lifecycle server calls
// has that of its caller, unless it says otherwise, and its limits go by it.
func TestPriorityIsInherited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sent := &overheard{key: "surecall-priority"}
		back := surecalltest.NewCluster(t, 1, sent.listen()...)
		inner := ready(t, back, surecall.WithoutAttemptTimeout(), surecall.WithConcurrency(limit.Concurrency{Limit: 20}))
		own := limit.Priority(0)
		front := surecalltest.NewClusterOf(t, 0, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
			orders.RegisterOrdersServer(s, relay{next: func(ctx context.Context) (*orders.Order, error) {
				if own != 0 {
					ctx = surecall.WithPriority(ctx, own)
				}
				return unary(ctx, inner, placeMethod)
			}})
		})
		front.AddLifecycle(lifecycle.Drain{})
		outer := ready(t, front, surecall.WithoutAttemptTimeout())

		sheddable := surecall.WithPriority(t.Context(), limit.Sheddable)
		if _, err := unary(sheddable, outer, getMethod); err != nil {
			t.Fatal(err)
		}
		get(t, outer)
		own = limit.Critical
		if _, err := unary(sheddable, outer, getMethod); err != nil {
			t.Fatal(err)
		}
		own = 0
		if got := sent.since(); !slices.Equal(got, []string{"sheddable", "", "sheddable,critical"}) {
			t.Errorf("the last one heard %q: want the caller's, none, and what the handler said last", got)
		}

		c := newCrowd(t, back, inner)
		if n := c.add(t.Context(), 17, placeMethod); n != 17 {
			t.Fatalf("%d of 17 found room", n)
		}
		_, err := unary(sheddable, outer, getMethod)
		wantCode(t, err, codes.ResourceExhausted)
		c.calls.Go(func() {
			if _, err := unary(t.Context(), outer, getMethod); err != nil {
				t.Errorf("a normal call: %v: want room for it", err)
			}
		})
		advance(time.Millisecond)
		c.disperse()
	})
}

// Pinned calls go to their instance, retries too, whatever becomes of the others, and
// nowhere else.
func TestPin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		second := cluster.Instance(1)
		ctx := surecall.Pin(surecall.WithPriority(t.Context(), limit.Critical), second.ID())
		for range 20 {
			for _, method := range []string{getMethod, placeMethod} {
				if order, err := unary(ctx, client, method); err != nil || order.GetServedBy() != second.ID() {
					t.Fatalf("%v, %v: want %s's answer", order, err, second.ID())
				}
			}
		}
		failFirst(cluster, 1, codes.Unavailable)
		var trace surecall.CallTrace
		if order, err := unary(ctx, client, getMethod, surecall.Trace(&trace)); err != nil || order.GetServedBy() != second.ID() || len(trace.Attempts) != 2 {
			t.Errorf("%v, %v, %s: want the retry on the same instance", order, err, story(trace))
		}
		watch, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if order, err := watch.Recv(); err != nil || order.GetServedBy() != second.ID() {
			t.Errorf("%v, %v: want the stream there too", order, err)
		}
		second.Serving(false) // not eligible, and connected
		advance(time.Second)
		if order, err := unary(ctx, client, getMethod); err != nil || order.GetServedBy() != second.ID() {
			t.Errorf("%v, %v: want it there although it is not serving", order, err)
		}
		second.Kill()
		advance(5 * time.Second)
		calls := cluster.Calls()
		for _, id := range []string{second.ID(), "orders-9"} {
			_, err := unary(surecall.Pin(t.Context(), id), client, getMethod)
			r := wantRejection(t, err, surecall.ErrNoInstance, codes.Unavailable, fmt.Sprintf("instance %q of \"orders\", to which the call is pinned", id))
			if r.Pinned != id {
				t.Errorf("pinned to %q: want %q", r.Pinned, id)
			}
		}
		if n := cluster.Calls() - calls; n != 0 {
			t.Errorf("%d calls elsewhere: want none", n)
		}
		get(t, client)
	})
}

// A key's calls go to one instance for as long as that is eligible. Keys spread over all;
// an instance that joins takes its share of them and moves no others, and one that is out
// gets its keys back.
func TestSticky(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 4)
		client := ready(t, cluster)
		const keys = 400
		places := func() (at [keys]string) {
			for k := range at {
				order, err := unary(surecall.Sticky(t.Context(), fmt.Sprintf("key-%d", k)), client, getMethod)
				if err != nil {
					t.Fatal(err)
				}
				at[k] = order.GetServedBy()
			}
			return at
		}
		moved := func(from, to [keys]string) (n int) {
			for k := range from {
				if from[k] != to[k] {
					n++
				}
			}
			return n
		}
		before := places()
		if n := moved(before, places()); n != 0 {
			t.Errorf("%d keys moved while nothing changed", n)
		}
		share := map[string]int{}
		for _, id := range before {
			share[id]++
		}
		for _, i := range cluster.Instances() {
			if n := share[i.ID()]; n < keys/8 || n > keys/2 {
				t.Errorf("%s has %d of %d keys: want about a quarter", i.ID(), n, keys)
			}
		}
		added := cluster.Add()
		advance(time.Second)
		places() // finds the set changed: its keys are laid out anew beside the calls
		advance(time.Second)
		after := places()
		for k := range after {
			if after[k] != before[k] && after[k] != added.ID() {
				t.Fatalf("key %d moved from %s to %s: want none moved but to %s", k, before[k], after[k], added.ID())
			}
		}
		if n := moved(before, after); n < keys/10 || n > keys/3 {
			t.Errorf("%d keys moved to one instance of five: want about %d", n, keys/5)
		}
		added.Serving(false)
		advance(time.Second)
		places() // finds the set changed: its keys are laid out anew beside the calls
		advance(time.Second)
		for k, id := range places() {
			if id == added.ID() || after[k] != added.ID() && id != after[k] {
				t.Fatalf("key %d is at %s, was at %s: want only those of %s elsewhere", k, id, after[k], added.ID())
			}
		}
		added.Serving(true)
		advance(time.Second)
		places() // finds the set changed: its keys are laid out anew beside the calls
		advance(time.Second)
		if n := moved(after, places()); n != 0 {
			t.Errorf("%d keys are not where they were before one was out", n)
		}

		var trace surecall.CallTrace
		failFirst(cluster, 1, codes.Unavailable)
		if _, err := unary(surecall.Sticky(t.Context(), "key-1"), client, getMethod, surecall.Trace(&trace)); err != nil {
			t.Error(err)
		}
		if a := trace.Attempts; len(a) != 2 || a[0].Instance != after[1] || a[1].Instance == after[1] {
			t.Errorf("%s: want the retry elsewhere than on %s", story(trace), after[1])
		}
	})
}

// A call's ID is that of all its attempts, and no other call's. Streams have none.
func TestCallID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sent := &overheard{key: "surecall-call-id"}
		cluster := surecalltest.NewCluster(t, 3, sent.listen()...)
		client := ready(t, cluster, surecall.ForMethod("/orders.v1.Orders/*", surecall.WithCallID()), surecall.ForMethod(cancelMethod, surecall.WithoutCallID()))
		known := map[string]bool{}
		for range 50 {
			cluster.Instance(0).LoseAnswers(1)
			if _, err := unary(t.Context(), client, getMethod); err != nil {
				t.Fatal(err)
			}
			cluster.Instance(0).LoseAnswers(0)
			advance(time.Second)
			ids := sent.since()
			if len(ids) == 0 || ids[0] == "" || known[ids[0]] || slices.ContainsFunc(ids, func(id string) bool { return id != ids[0] }) {
				t.Fatalf("the attempts of a call said %q: want one ID, new and the same", ids)
			}
			known[ids[0]] = true
		}
		_, _ = unary(t.Context(), client, cancelMethod)
		ctx, cancel := context.WithCancel(t.Context())
		watch, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		cancel()
		if ids := sent.since(); err != nil || !slices.Equal(ids, []string{"", ""}) {
			t.Errorf("%v: a method without, and a stream, said %q: want no ID", err, ids)
		}
	})
}

func wantCode(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if got := status.Code(err); got != code {
		t.Errorf("error %v: want %v", err, code)
	}
}
