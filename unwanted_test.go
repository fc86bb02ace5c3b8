package surecall_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// said is what one attempt meets: a reply, of which stale ones are not wanted, or an error,
// after some time.
type said struct {
	item string
	code codes.Code
	took time.Duration
}

// teller is an orders server that says, to the n-th attempt of all that reach the cluster,
// the n-th of what it is given. A stale reply has an ID, others have none: nothing of the
// one may be left in the other.
type teller struct {
	orders.UnimplementedOrdersServer
	id       string
	attempts *atomic.Int64
	says     []said
}

func (s *teller) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	n := s.attempts.Add(1)
	say := s.says[min(int(n), len(s.says))-1]
	if err := takes(ctx, say.took); err != nil {
		return nil, err
	}
	if say.code != codes.OK {
		return nil, status.Error(say.code, "so says the handler")
	}
	order := &orders.Order{Item: say.item, ServedBy: s.id}
	if strings.HasPrefix(say.item, "stale") {
		order.Id = "stale"
	}
	return order, nil
}

func (s *teller) Place(ctx context.Context, _ *orders.PlaceRequest) (*orders.Order, error) {
	return s.Get(ctx, nil)
}

// fresh hopes for a reply that is not stale.
var fresh = surecall.WithRetry(retry.Policy{BaseDelay: 1, Unwanted: func(reply any) bool {
	return strings.HasPrefix(reply.(*orders.Order).GetItem(), "stale")
}})

// A reply that the policy does not want is hoped to be bettered by another instance. If
// it is not, whatever came instead, the caller has it.
func TestUnwantedReply(t *testing.T) {
	const ms = time.Millisecond
	options := func(o ...surecall.Option) []surecall.Option { return o }
	for _, test := range []struct {
		name    string
		method  string // empty: Get
		options []surecall.Option
		ctx     func(context.Context) context.Context
		says    []said
		item    string // that the caller gets
		made    int    // attempts
		from    int    // which of them the reply is of
		why     []event.Denial
	}{
		{name: "wanted", says: []said{{item: "tea"}}, item: "tea", made: 1, from: 1},
		{name: "the second is better", says: []said{{item: "stale 1"}, {item: "tea"}}, item: "tea", made: 2, from: 2},
		{name: "the third is better", says: []said{{item: "stale 1"}, {item: "stale 2"}, {item: "tea"}}, item: "tea", made: 3, from: 3},
		{name: "a failure, then one that is not wanted, then a better one", says: []said{{code: codes.Unavailable}, {item: "stale 2"}, {item: "tea"}},
			item: "tea", made: 3, from: 3},
		{name: "none is better", says: []said{{item: "stale 1"}, {item: "stale 2"}, {item: "stale 3"}}, item: "stale 3", made: 3, from: 3,
			why: []event.Denial{event.AttemptsSpent}},
		{name: "the others fail", says: []said{{item: "stale 1"}, {code: codes.Unavailable}, {code: codes.Unavailable}}, item: "stale 1", made: 3, from: 1,
			why: []event.Denial{event.AttemptsSpent}},
		{name: "the second says that there is none", says: []said{{item: "stale 1"}, {code: codes.NotFound}}, item: "stale 1", made: 2, from: 1},
		{name: "the second takes longer than the caller waits", ctx: within(100 * ms), says: []said{{item: "stale 1"}, {took: time.Hour}},
			options: options(surecall.WithoutAttemptTimeout()), item: "stale 1", made: 2, from: 1},
		{name: "no attempt left", options: options(surecall.WithoutRetry()), says: []said{{item: "stale 1"}}, item: "stale 1", made: 1, from: 1},
		{name: "the budget pays for one", options: options(oneToken()), says: []said{{item: "stale 1"}, {item: "stale 2"}, {item: "tea"}},
			item: "stale 2", made: 2, from: 2, why: []event.Denial{event.BudgetEmpty}},
		{name: "below a retry", ctx: belowRetry, says: []said{{item: "stale 1"}, {item: "tea"}}, item: "stale 1", made: 1, from: 1,
			why: []event.Denial{event.ChainStop}},
		{name: "not idempotent", method: placeMethod, says: []said{{item: "stale 1"}, {item: "tea"}}, item: "stale 1", made: 1, from: 1},
		{name: "hedged: the hedge is better", options: options(after10), says: []said{{item: "stale 1", took: 80 * ms}, {item: "tea", took: 5 * ms}},
			item: "tea", made: 2, from: 2},
		{name: "hedged: the hedge is not wanted", options: options(after10), says: []said{{item: "tea", took: 80 * ms}, {item: "stale 2", took: 5 * ms}},
			item: "tea", made: 2, from: 1},
		{name: "hedged: none is better", options: options(after10),
			says: []said{{item: "stale 1", took: 80 * ms}, {item: "stale 2", took: 5 * ms}, {code: codes.Unavailable}}, item: "stale 1", made: 3, from: 1,
			why: []event.Denial{event.AttemptsSpent}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				attempts := &atomic.Int64{}
				cluster := surecalltest.NewClusterOf(t, 3, func(r grpc.ServiceRegistrar, i *surecalltest.Instance) {
					orders.RegisterOrdersServer(r, &teller{id: i.ID(), attempts: attempts, says: test.says})
				})
				events := &log{}
				client := ready(t, cluster, append([]surecall.Option{events.option(), fresh}, test.options...)...)
				ctx := t.Context()
				if test.ctx != nil {
					ctx = test.ctx(ctx)
				}
				if test.method == "" {
					test.method = getMethod
				}
				var trace surecall.CallTrace
				order, err := unary(ctx, client, test.method, surecall.Trace(&trace))
				if err != nil || trace.Err != nil || order.GetItem() != test.item {
					t.Fatalf("%v, error %v, in the trace %v: want %q", order, err, trace.Err, test.item)
				}
				if len(trace.Attempts) != test.made || sum(reached(cluster)) != test.made || slices.Max(reached(cluster)) > 1 {
					t.Fatalf("calls %v, attempts %+v: want %d, each on another instance", reached(cluster), trace.Attempts, test.made)
				}
				if from := trace.Attempts[test.from-1]; from.Err != nil || order.GetServedBy() != from.Instance {
					t.Errorf("reply of %q: want that of attempt %d, %+v", order.GetServedBy(), test.from, from)
				}
				if stale := order.GetId() != ""; stale != strings.HasPrefix(test.item, "stale") {
					t.Errorf("%v: want the whole of one reply and nothing of another", order)
				}
				retried := eventsOf[event.AttemptRetried](events)
				if hedged := len(eventsOf[event.AttemptHedged](events)); len(retried)+hedged != test.made-1 {
					t.Errorf("%d retries and %d hedges told: want %d", len(retried), hedged, test.made-1)
				}
				if why := denials(events); !slices.Equal(why, test.why) {
					t.Errorf("denied for %q: want %q", why, test.why)
				}
			})
		})
	}
}

// within has the caller leave after d.
func within(d time.Duration) func(context.Context) context.Context {
	return func(ctx context.Context) context.Context {
		ctx, cancel := context.WithTimeout(ctx, d)
		context.AfterFunc(ctx, cancel)
		return ctx
	}
}

// The event of a retry for a reply that is not wanted says that this is why; the instance
// that gave it did its work.
func TestUnwantedIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithRetry(retry.Policy{Unwanted: func(any) bool { return true }, MaxAttempts: 2}))
		var trace surecall.CallTrace
		if _, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace)); err != nil {
			t.Fatal(err)
		}
		retried := eventsOf[event.AttemptRetried](events)
		if len(retried) != 1 || retried[0].Cause == nil || !strings.Contains(retried[0].Cause.Error(), "not wanted") || retried[0].Instance != trace.Attempts[0].Instance {
			t.Errorf("%+v: want one, for the first reply", retried)
		}
		for _, i := range client.Instances() {
			if i.Breaker.Failures != 0 || i.State != event.Eligible {
				t.Errorf("%s: %v, %d failures: want none", i.ID, i.State, i.Breaker.Failures)
			}
		}
	})
}
