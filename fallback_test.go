package surecall_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// madeUp is a fallback that says so.
func madeUp(_ context.Context, r *orders.GetRequest, _ error) (*orders.Order, error) {
	return &orders.Order{Id: r.GetId(), ServedBy: "fallback"}, nil
}

// failAll makes every call that reaches the cluster end with code.
func failAll(c *surecalltest.Cluster, code codes.Code) {
	for _, i := range c.Instances() {
		i.Fail(code)
	}
}

// secondBests are by whom calls were answered that no instance answered, in order.
func secondBests(l *log) []event.SecondBest {
	var by []event.SecondBest
	for _, e := range eventsOf[event.CallServedSecondBest](l) {
		by = append(by, e.By)
	}
	return by
}

// A caller gets the fallback's reply, can tell, and the fallback can tell why.
func TestFallback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		var cause error
		kept := &orders.Order{Id: "1", ServedBy: "fallback"}
		client := ready(t, cluster, events.option(), surecall.ForMethod(getMethod, surecall.WithFallback(
			func(_ context.Context, r *orders.GetRequest, c error) (*orders.Order, error) {
				if cause = c; r.GetId() != "1" {
					t.Errorf("the fallback got request %v", r)
				}
				return kept, nil
			})))
		var trace surecall.CallTrace
		var header, trailer metadata.MD
		options := []grpc.CallOption{surecall.Trace(&trace), grpc.Header(&header), grpc.Trailer(&trailer)}
		if order, err := unary(t.Context(), client, getMethod, options...); err != nil || order.GetServedBy() == "fallback" {
			t.Errorf("%v, %v: want an instance's answer while there is one", order, err)
		}
		if trace.SecondBest != "" || header.Get(surecall.ServedByKey) != nil {
			t.Errorf("trace %q, header %v: want an instance's answer", trace.SecondBest, header)
		}
		failAll(cluster, codes.Unavailable)
		order, err := unary(t.Context(), client, getMethod, options...)
		if err != nil || !proto.Equal(order, kept) {
			t.Fatalf("%v, %v: want the fallback's", order, err)
		}
		if order.Item = "changed"; kept.GetItem() != "" {
			t.Error("the caller's reply is the fallback's own: want a copy")
		}
		if status.Code(cause) != codes.Unavailable || !strings.Contains(cause.Error(), "was told to fail") {
			t.Errorf("the fallback was told of %v: want what the instances said", cause)
		}
		if trace.SecondBest != event.Fallback || trace.Err != nil || len(trace.Attempts) == 0 {
			t.Errorf("trace %+v: want it to tell of attempts and of the fallback", trace)
		}
		for _, md := range []metadata.MD{header, trailer} {
			if got := md.Get(surecall.ServedByKey); !slices.Equal(got, []string{"fallback"}) {
				t.Errorf("metadata %v: want it to tell of the fallback", md)
			}
		}
		told := eventsOf[event.CallServedSecondBest](events)
		if len(told) != 1 || told[0].By != event.Fallback || told[0].Cause != cause || told[0].Method != getMethod {
			t.Errorf("events %+v: want one", told)
		}
	})
}

// A server's answer about the request is not bettered, nor does a caller that has left
// get one.
func TestFallbackWhen(t *testing.T) {
	answers := []codes.Code{
		codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated,
	}
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithFallback(madeUp), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			failAll(cluster, code)
			_, err := unary(t.Context(), client, getMethod)
			if want := slices.Contains(answers, code); (err != nil) != want || want && status.Code(err) != code {
				t.Errorf("%v became %v: want it to stay %v", code, err, want)
			}
			_, err = unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithFallbackWhen(func(err error) bool {
				return status.Code(err) == codes.NotFound
			})))
			if (err == nil) != (code == codes.NotFound) {
				t.Errorf("%v became %v: want a fallback for NOT_FOUND only", code, err)
			}
		}
		hangAll(cluster)
		defer resumeAll(cluster)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := unary(ctx, client, getMethod); status.Code(err) != codes.Canceled {
			t.Errorf("error %v: want CANCELED, the caller has left", err)
		}
	})
}

// A fallback may fail in its own way, or have nothing to say.
func TestFallbackFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		own := errors.New("no idea")
		client := ready(t, cluster, events.option())
		cluster.Instance(0).Fail(codes.Internal)
		for want, answer := range map[codes.Code]error{codes.Unknown: own, codes.Internal: nil} {
			_, err := unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithFallback(
				func(context.Context, *orders.GetRequest, error) (*orders.Order, error) { return nil, answer })))
			if status.Code(err) != want {
				t.Errorf("error %v: want %v", err, want)
			}
		}
		if by := secondBests(events); by != nil {
			t.Errorf("served by %q: want nobody", by)
		}
	})
}

// The commonest final failure is that the time is over. The fallback then has the
// caller's context, and what was reserved of it.
func TestFallbackAfterDeadline(t *testing.T) {
	for _, test := range []struct {
		name       string
		caller     time.Duration // its deadline; 0: none
		reserve    time.Duration
		took, left time.Duration
		says       string
	}{
		{"of ours", 0, time.Second, surecall.DefaultCallDeadline, 0, "set by surecall"},
		{"the caller's", time.Second, 0, time.Second, 0, "deadline"},
		{"a reserve", time.Second, 300 * time.Millisecond, 700 * time.Millisecond, 300 * time.Millisecond, "reserve of at most 300ms"},
		{"too large a reserve", time.Second, time.Minute, 500 * time.Millisecond, 500 * time.Millisecond, "reserve of at most 1m"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				began, called := time.Now(), false
				client := ready(t, cluster, surecall.WithFallbackReserve(test.reserve), surecall.WithFallback(
					func(ctx context.Context, r *orders.GetRequest, cause error) (*orders.Order, error) {
						called = true
						deadline, has := ctx.Deadline()
						if took := time.Since(began); took != test.took || has != (test.caller > 0) || has && time.Until(deadline) != test.left {
							t.Errorf("called after %v with %v left: want %v and %v", took, time.Until(deadline), test.took, test.left)
						}
						if over := ctx.Err() != nil; over != (has && test.left == 0) {
							t.Errorf("the fallback's context ended: %v", ctx.Err())
						}
						if status.Code(cause) != codes.DeadlineExceeded || !strings.Contains(cause.Error(), test.says) {
							t.Errorf("cause %v: want %q in it", cause, test.says)
						}
						return &orders.Order{Id: r.GetId()}, nil
					}))
				defer holdAll(cluster)()
				ctx := t.Context()
				if test.caller > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.caller)
					defer cancel()
				}
				began = time.Now()
				if order, err := unary(ctx, client, getMethod); err != nil || order.GetId() != "1" || !called {
					t.Errorf("%v, %v, called: %v", order, err, called)
				}
			})
		})
	}
}

// Whoever asks one instance wants that instance's answer.
func TestPinnedHasNoSecondBest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithFallback(madeUp),
			surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour}), surecall.WithAlternate(surecalltest.NewCluster(t, 1).Client()))
		get(t, client)
		before := sum(reached(cluster))
		pinned := surecall.Pin(t.Context(), cluster.Instance(1).ID())
		if _, err := unary(pinned, client, getMethod); err != nil || sum(reached(cluster)) != before+1 {
			t.Errorf("%v, %d calls: want the instance asked", err, sum(reached(cluster))-before)
		}
		failAll(cluster, codes.Internal)
		if _, err := unary(pinned, client, getMethod); status.Code(err) != codes.Internal || secondBests(events) != nil {
			t.Errorf("error %v, served by %v: want the instance's error", err, secondBests(events))
		}
	})
}

// The compiler knows the fallback's types, and the descriptor the method's.
func TestFallbackTypes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		for _, test := range []struct {
			name   string
			option surecall.Option
			want   []string // nil: no error
		}{
			{"fits", surecall.ForMethod(getMethod, surecall.WithFallback(madeUp)), nil},
			{"another request", surecall.ForMethod(placeMethod, surecall.WithFallback(madeUp)),
				[]string{`"/orders.v1.Orders/Place"`, "takes *orders.GetRequest", "want *orders.PlaceRequest and *orders.Order"}},
			{"a stream", surecall.ForMethod(watchMethod, surecall.WithFallback(madeUp)), []string{watchMethod, "streams"}},
			{"with a star", surecall.ForMethod("/orders.v1.Orders/*", surecall.WithFallback(madeUp)), nil},
			{"not linked", surecall.ForMethod("/orders.v9.Orders/Get", surecall.WithFallback(madeUp)), nil},
			{"nil", surecall.WithFallback[*orders.GetRequest, *orders.Order](nil), []string{"WithFallback: nil"}},
			{"any message", surecall.WithFallback(func(context.Context, proto.Message, error) (proto.Message, error) { return nil, nil }),
				[]string{"protoreflect.ProtoMessage", "want pointers to generated messages"}},
			{"no predicate", surecall.WithFallbackWhen(nil), []string{"WithFallbackWhen: nil"}},
			{"a negative reserve", surecall.WithFallbackReserve(-1), []string{"WithFallbackReserve -1ns"}},
		} {
			client, err := surecall.NewClient("memory:///orders", cluster.Options(), test.option)
			if err == nil {
				client.Close()
			}
			if (err != nil) != (test.want != nil) {
				t.Errorf("%s: error %v: want one: %v", test.name, err, test.want != nil)
			}
			for _, want := range test.want {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: error %v: want %q in it", test.name, err, want)
				}
			}
		}
		client := ready(t, cluster, events.option(), surecall.ForMethod("*", surecall.WithFallback(madeUp)))
		cluster.Instance(0).Fail(codes.Internal)
		for range 3 {
			if _, err := unary(t.Context(), client, placeMethod); status.Code(err) != codes.Internal {
				t.Errorf("error %v: want that of the call", err)
			}
		}
		warned := eventsOf[event.ConfigWarning](events)
		if len(warned) != 1 || !strings.Contains(warned[0].What, placeMethod) || !strings.Contains(warned[0].What, "*orders.PlaceRequest") {
			t.Errorf("warnings %+v: want one that names method and types", warned)
		}
	})
}

// Second best stands outside of all that rejects: what is fresh needs no token of a rate
// limit, and a rejection is a failure like others. It takes nothing from what is told.
func TestSecondBestIsOutermost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		var causes []error
		client := cached(t, cluster, surecall.CachePolicy{Fresh: time.Hour}, events.option(),
			surecall.WithRateLimit(limit.Rate{PerSecond: 0.001, Burst: 1}),
			surecall.WithFallback(func(_ context.Context, r *orders.GetRequest, cause error) (*orders.Order, error) {
				causes = append(causes, cause)
				return &orders.Order{Id: r.GetId()}, nil
			}))
		get(t, client) // takes the only token
		get(t, client)
		if by := secondBests(events); !slices.Equal(by, []event.SecondBest{event.FreshCache}) || sum(reached(cluster)) != 1 {
			t.Errorf("served by %q, %d calls: want the fresh answer without a token", by, sum(reached(cluster)))
		}
		if _, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "2"}); err != nil || len(causes) != 1 || !errors.Is(causes[0], surecall.ErrRateLimited) {
			t.Errorf("%v, causes %v: want a fallback for the rate limit's rejection", err, causes)
		}
		if rejected := eventsOf[event.CallRejected](events); len(rejected) != 0 {
			t.Errorf("%d calls told of as rejected: want none, each was answered", len(rejected))
		}
	})
}
