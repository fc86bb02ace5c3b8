package surecall_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// elsewhere is another datacenter: it notes what it is asked, and answers with err, if it
// is told one.
type elsewhere struct {
	orders.UnimplementedOrdersServer
	calls int
	md    metadata.MD
	left  time.Duration // until the call's deadline; 0: it has none
	err   error
}

func (e *elsewhere) answer(ctx context.Context, item string) (*orders.Order, error) {
	e.calls++
	e.md, _ = metadata.FromIncomingContext(ctx)
	if deadline, has := ctx.Deadline(); has {
		e.left = time.Until(deadline).Round(time.Millisecond)
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("from", "elsewhere"))
	return &orders.Order{Item: item, ServedBy: "elsewhere"}, e.err
}

func (e *elsewhere) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	return e.answer(ctx, "")
}

func (e *elsewhere) Place(ctx context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	return e.answer(ctx, r.GetItem())
}

// cluster returns one of which e is the only instance.
func (e *elsewhere) cluster(t *testing.T) *surecalltest.Cluster {
	return surecalltest.NewClusterOf(t, 1, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
		orders.RegisterOrdersServer(s, e)
	})
}

// The same call is made elsewhere if that is safe and may help.
func TestAlternate(t *testing.T) {
	for _, test := range []struct {
		name   string
		method string
		fail   func(*surecalltest.Cluster)
		below  bool  // a repeated attempt
		err    error // what elsewhere says
		asked  bool
		want   codes.Code
	}{
		{name: "idempotent", method: getMethod, fail: unavailable, asked: true},
		{name: "may have been executed", method: placeMethod, fail: unavailable, want: codes.Unavailable},
		{name: "never executed", method: placeMethod, fail: killAll, asked: true},
		{name: "an answer", method: getMethod, fail: failing(codes.NotFound), want: codes.NotFound},
		{name: "refused for load", method: getMethod, fail: failing(codes.ResourceExhausted), want: codes.ResourceExhausted},
		{name: "chain stop", method: getMethod, fail: unavailable, below: true, want: codes.Unavailable},
		{name: "chain stop, never executed", method: getMethod, fail: killAll, below: true, asked: true},
		{name: "an answer from elsewhere", method: getMethod, fail: unavailable, err: status.Error(codes.NotFound, "not here"), asked: true, want: codes.NotFound},
		{name: "elsewhere fails, too", method: getMethod, fail: failing(codes.DataLoss), err: status.Error(codes.Internal, "broken"), asked: true, want: codes.DataLoss},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events, there := surecalltest.NewCluster(t, 2), &log{}, &elsewhere{err: test.err}
				client := ready(t, cluster, events.option(), surecall.WithAlternate(ready(t, there.cluster(t))))
				test.fail(cluster)
				synctest.Wait() // until the client has noticed
				ctx := t.Context()
				if test.below {
					ctx = belowRetry(ctx)
				}
				var trace surecall.CallTrace
				var header metadata.MD
				order, err := unary(ctx, client, test.method, surecall.Trace(&trace), grpc.Header(&header))
				if status.Code(err) != test.want || err == nil && order.GetServedBy() != "elsewhere" {
					t.Errorf("%v, %v: want %v", order, err, test.want)
				}
				if (there.calls == 1) != test.asked || there.calls > 1 {
					t.Errorf("elsewhere was asked %d times: want it asked: %v", there.calls, test.asked)
				}
				served := test.asked && (test.err == nil || test.want == codes.NotFound)
				if (trace.SecondBest == event.Alternate) != served || len(secondBests(events)) > 0 != served || trace.Method != test.method || trace.Err != err {
					t.Errorf("trace %+v, events %v: want it served: %v", trace, secondBests(events), served)
				}
				if served && (!slices.Equal(header.Get("from"), []string{"elsewhere"}) || !slices.Equal(header.Get(surecall.ServedByKey), []string{"alternate"})) {
					t.Errorf("header %v: want that of elsewhere, and who answered", header)
				}
				if again := len(there.md.Get("surecall-attempt")) > 0; again != (test.asked && test.method == getMethod && !test.below) {
					t.Errorf("marked as a repeat: %v", again)
				}
			})
		})
	}
}

func unavailable(c *surecalltest.Cluster) { failAll(c, codes.Unavailable) }

func failing(code codes.Code) func(*surecalltest.Cluster) {
	return func(c *surecalltest.Cluster) { failAll(c, code) }
}

func killAll(c *surecalltest.Cluster) {
	for _, i := range c.Instances() {
		i.Kill()
	}
}

// The alternate has the caller's time, or that of a call if the caller set none.
func TestAlternateDeadline(t *testing.T) {
	for _, test := range []struct {
		caller, reserve, left time.Duration
		asked                 bool
	}{
		{0, 0, surecall.DefaultCallDeadline, true},
		{2 * time.Second, 0, 0, false},
		{2 * time.Second, 500 * time.Millisecond, 500 * time.Millisecond, true},
	} {
		bubble(t, func(t *testing.T) {
			cluster, there := surecalltest.NewCluster(t, 1), &elsewhere{}
			plain := plain(t, there.cluster(t)) // gRPC's own, without any deadline
			client := ready(t, cluster, surecall.WithAlternate(plain), surecall.WithFallbackReserve(test.reserve))
			defer holdAll(cluster)()
			ctx := t.Context()
			if test.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.caller)
				defer cancel()
			}
			_, err := unary(ctx, client, getMethod)
			if (err == nil) != test.asked || (there.calls > 0) != test.asked || there.left != test.left {
				t.Errorf("%+v: %v, asked %d times, %v left", test, err, there.calls, there.left)
			}
		})
	}
}

// Two clients that are each other's alternate do not ask each other for ever.
func TestAlternateOfEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one, two := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		off := surecall.WithOptions(surecall.WithoutRetry(), surecall.WithoutBreaker())
		a := ready(t, one, off)
		b := ready(t, two, off, surecall.WithAlternate(a))
		if err := a.Update(surecall.WithAlternate(b)); err != nil {
			t.Fatal(err)
		}
		failAll(one, codes.Unavailable)
		failAll(two, codes.Unavailable)
		for _, client := range []*surecall.Client{a, b} {
			_, err := unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithAlternate(map[*surecall.Client]*surecall.Client{a: b, b: a}[client])))
			if status.Code(err) != codes.Unavailable {
				t.Error(err)
			}
		}
		if n := sum(reached(one)) + sum(reached(two)); n != 4 {
			t.Errorf("%d attempts of two calls: want each made in both places, once", n)
		}
	})
}

// guarded answers with err and notes the IDs of its calls.
type guarded struct {
	orders.UnimplementedOrdersServer
	ids *[]string
	err error
}

func (g guarded) Place(ctx context.Context, _ *orders.PlaceRequest) (*orders.Order, error) {
	*g.ids = append(*g.ids, metadata.ValueFromIncomingContext(ctx, "surecall-call-id")...)
	return &orders.Order{}, g.err
}

// A call has one ID wherever it is made, or what guards it would have it executed twice.
func TestAlternateKeepsCallID(t *testing.T) {
	for name, test := range map[string]struct {
		own     []string // metadata
		options []grpc.CallOption
		ids     int // different ones
	}{
		"drawn":              {nil, nil, 1},
		"the caller's":       {[]string{"surecall-call-id", "mine"}, nil, 1},
		"switched off here":  {nil, []grpc.CallOption{surecall.ForCall(surecall.WithoutCallID())}, 1}, // the alternate's own
		"switched on for it": {nil, []grpc.CallOption{surecall.ForCall(surecall.WithCallID())}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var here, there []string
				of := func(ids *[]string, err error) *surecalltest.Cluster {
					return surecalltest.NewClusterOf(t, 1, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
						orders.RegisterOrdersServer(s, guarded{ids: ids, err: err})
					})
				}
				policy := surecall.ForMethod(placeMethod, surecall.WithCallID(), surecall.AsIdempotent())
				alternate := ready(t, of(&there, nil), policy)
				client := ready(t, of(&here, status.Error(codes.Unavailable, "executed, and then failed")), policy, surecall.WithAlternate(alternate))
				ctx := metadata.AppendToOutgoingContext(t.Context(), test.own...)
				if _, err := unary(ctx, client, placeMethod, test.options...); err != nil || len(there) != 1 {
					t.Fatalf("%v, IDs %q there", err, there)
				}
				ids := slices.Compact(slices.Sorted(slices.Values(append(here, there...))))
				if len(ids) != test.ids || test.own != nil && ids[0] != "mine" {
					t.Errorf("IDs %q here and %q there: want one", here, there)
				}
			})
		})
	}
}

// Header, trailer and peer belong to the error or reply that the caller gets.
func TestAlternateFillsInWhatItAnswers(t *testing.T) {
	for _, err := range []error{nil, status.Error(codes.NotFound, "not here"), status.Error(codes.Internal, "broken")} {
		bubble(t, func(t *testing.T) {
			cluster, there := surecalltest.NewCluster(t, 1), &elsewhere{err: err}
			client := ready(t, cluster, surecall.WithAlternate(ready(t, there.cluster(t))))
			failAll(cluster, codes.Unavailable)
			var header, trailer metadata.MD
			var from peer.Peer
			_, got := unary(t.Context(), client, getMethod, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
			answered := status.Code(got) == status.Code(err)
			if answered != (status.Code(err) != codes.Internal) {
				t.Errorf("%v", got)
			}
			if has := header.Get("from") != nil; has != answered {
				t.Errorf("%v: header %v", got, header)
			}
			for _, md := range []metadata.MD{header, trailer} {
				if has := md.Get(surecall.ServedByKey) != nil; has != answered {
					t.Errorf("%v: metadata %v", got, md)
				}
			}
		})
	}
}

// An old answer of the alternate's says that it is old, and is not kept for a new one.
func TestAlternateServesStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		alternate := cached(t, there, surecall.CachePolicy{}, surecall.WithoutServiceBreaker())
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Hour}, surecall.WithAlternate(alternate), surecall.WithoutServiceBreaker())
		get(t, alternate)
		failAll(cluster, codes.Internal)
		failAll(there, codes.Internal)
		advance(5 * time.Minute)
		for range 2 {
			var trace surecall.CallTrace
			var header metadata.MD
			_, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace), grpc.Header(&header))
			if err != nil || trace.SecondBest != event.Alternate || trace.Age != 5*time.Minute ||
				!slices.Equal(header.Get(surecall.AgeKey), []string{"300.000"}) || !slices.Equal(header.Get(surecall.ServedByKey), []string{"alternate"}) {
				t.Errorf("%v, trace %+v, header %v: want the alternate's answer, 5 min old", err, trace, header)
			}
		}
	})
}

// What the alternate says that there is no longer, an old answer does not bring back.
func TestAlternateTakesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		off := surecall.WithOptions(surecall.WithoutServiceBreaker(), surecall.WithoutBreaker())
		client := cached(t, cluster, surecall.CachePolicy{}, off, surecall.WithAlternate(ready(t, there, off)))
		get(t, client)
		advance(1)
		failAll(cluster, codes.Internal)
		failAll(there, codes.NotFound)
		if _, err := unary(t.Context(), client, getMethod); status.Code(err) != codes.NotFound {
			t.Errorf("%v: want the alternate's NOT_FOUND", err)
		}
		failAll(there, codes.Internal)
		if order, err := unary(t.Context(), client, getMethod); err == nil {
			t.Errorf("%v: want nothing that was taken back", order)
		}
	})
}

// The caller's trace and policies are about the call that it made, not about the alternate's.
func TestAlternateGetsNoOptionsOfOurs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there, events, eventsThere := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1), &log{}, &log{}
		client := ready(t, cluster, events.option(), surecall.WithAlternate(ready(t, there, eventsThere.option())))
		failAll(cluster, codes.DataLoss)
		advance(time.Second)
		var trace surecall.CallTrace
		options := []grpc.CallOption{surecall.Trace(&trace), surecall.ForCall(surecall.WithFallback(madeUp))}
		if _, err := unary(t.Context(), client, getMethod, options...); err != nil || trace.SecondBest != event.Alternate ||
			len(trace.Attempts) != 1 || status.Code(trace.Attempts[0].Err) != codes.DataLoss {
			t.Errorf("%v, trace %+v: want the attempt that failed here", err, trace)
		}
		failAll(there, codes.DataLoss)
		if order, err := unary(t.Context(), client, getMethod, options...); err != nil || order.GetServedBy() != "fallback" {
			t.Errorf("%v, %v", order, err)
		}
		if here, moved := secondBests(events), secondBests(eventsThere); !slices.Equal(here, []event.SecondBest{event.Alternate, event.Fallback}) || moved != nil {
			t.Errorf("served %q here and %q there: want no fallback there", here, moved)
		}
	})
}

// A closed client answers nothing, by whatever.
func TestSecondBestEndsWithTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, there := surecalltest.NewCluster(t, 1), surecalltest.NewCluster(t, 1)
		client := cached(t, cluster, freshHour, surecall.WithAlternate(ready(t, there)), surecall.WithFallback(madeUp))
		get(t, client)
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if order, err := unary(t.Context(), client, getMethod); status.Code(err) != codes.Canceled {
			t.Errorf("%v, %v: want CANCELED", order, err)
		}
	})
}

func TestAlternateNil(t *testing.T) {
	var none *surecall.Client
	for _, conn := range []grpc.ClientConnInterface{nil, none} {
		_, err := surecall.NewClient("memory:///orders", surecall.WithInsecure(), surecall.WithAlternate(conn))
		if err == nil || !strings.Contains(err.Error(), "WithAlternate: nil") {
			t.Errorf("error %v: want WithAlternate's", err)
		}
	}
}

// Fresh cache, instances, alternate, stale cache, fallback: each is asked when all before
// it have failed.
func TestSecondBestOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events, there := surecalltest.NewCluster(t, 1), &log{}, &elsewhere{}
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Minute, Stale: time.Hour}, events.option(),
			surecall.WithAlternate(ready(t, there.cluster(t))), surecall.WithFallback(madeUp), surecall.WithoutServiceBreaker())
		get(t, client)
		failAll(cluster, codes.Unavailable)
		get(t, client) // fresh
		advance(2 * time.Minute)
		get(t, client) // the alternate, although there is a stale answer
		advance(2 * time.Minute)
		there.err = status.Error(codes.Unavailable, "down, too")
		get(t, client) // the stale answer
		advance(time.Hour)
		get(t, client) // the fallback
		want := []event.SecondBest{event.FreshCache, event.Alternate, event.StaleCache, event.Fallback}
		if got := secondBests(events); !slices.Equal(got, want) {
			t.Errorf("served by %q: want %q", got, want)
		}
		for n, e := range eventsOf[event.CallServedSecondBest](events) {
			if (e.Cause == nil) != (n == 0) || n > 0 && status.Code(e.Cause) != codes.Unavailable {
				t.Errorf("event %+v: want what the instances said", e)
			}
		}
	})
}
