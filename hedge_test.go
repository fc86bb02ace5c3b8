package surecall_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// scripted is an orders server whose Get does what a test says, by the number of the
// attempt of all that reach the cluster, from 1. Its header and its trailer say who it is.
type scripted struct {
	orders.UnimplementedOrdersServer
	id       string
	attempts *atomic.Int64
	get      func(ctx context.Context, attempt int64) error
}

func (s *scripted) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	attempt := s.attempts.Add(1)
	_ = grpc.SetHeader(ctx, metadata.Pairs("from", s.id))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("from", s.id))
	if err := s.get(ctx, attempt); err != nil {
		return nil, err
	}
	return &orders.Order{Id: r.GetId(), ServedBy: s.id}, nil
}

func scriptedCluster(t *testing.T, n int, get func(ctx context.Context, attempt int64) error) *surecalltest.Cluster {
	attempts := &atomic.Int64{}
	return surecalltest.NewClusterOf(t, n, func(r grpc.ServiceRegistrar, i *surecalltest.Instance) {
		orders.RegisterOrdersServer(r, &scripted{id: i.ID(), attempts: attempts, get: get})
	})
}

// takes waits, as a handler that heeds its context does.
func takes(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// after10 hedges what takes longer than 10 ms.
var after10 = surecall.WithHedge(retry.Hedge{Delay: 10 * time.Millisecond})

// Header, trailer and peer that the caller sees are of the attempt that it has the answer
// of, and OnFinish is called once, whichever attempt wins, with a reply or an error.
func TestHedgeAndCallOptions(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name          string
		first, second time.Duration
		err           codes.Code // of who wins
		winner        int
		took          time.Duration
	}{
		{"no hedge needed", 5 * ms, 0, codes.OK, 1, 5 * ms},
		{"the first wins", 15 * ms, 20 * ms, codes.OK, 1, 15 * ms},
		{"the second wins", 80 * ms, 5 * ms, codes.OK, 2, 15 * ms},
		{"the first wins with an error", 15 * ms, 20 * ms, codes.NotFound, 1, 15 * ms},
		{"the second wins with an error", 80 * ms, 5 * ms, codes.NotFound, 2, 15 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := scriptedCluster(t, 3, func(ctx context.Context, attempt int64) error {
					if err := takes(ctx, []time.Duration{test.first, test.second}[attempt-1]); err != nil {
						return err
					}
					if test.err != codes.OK {
						return status.Error(test.err, "so says the handler")
					}
					return nil
				})
				client := ready(t, cluster, after10)
				var header, trailer metadata.MD
				var from peer.Peer
				var trace surecall.CallTrace
				var finished []error
				began := time.Now()
				order, err := unary(t.Context(), client, getMethod, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from),
					surecall.Trace(&trace), grpc.OnFinish(func(err error) { finished = append(finished, err) }))
				if status.Code(err) != test.err || time.Since(began) != test.took {
					t.Fatalf("error %v after %v: want %v after %v", err, time.Since(began), test.err, test.took)
				}
				winner := trace.Attempts[test.winner-1]
				if winner.Err != nil != (err != nil) || winner.CutOff || winner.Hedge != (test.winner == 2) {
					t.Errorf("trace of the winner %+v", winner)
				}
				want := []string{winner.Instance}
				if h, tr := header.Get("from"), trailer.Get("from"); len(tr) != 1 || tr[0] != want[0] || err == nil && (len(h) != 1 || h[0] != want[0]) {
					t.Errorf("header %v, trailer %v: want the winner's, %v", header, trailer, want)
				}
				if err == nil && order.GetServedBy() != want[0] {
					t.Errorf("reply of %q: want the winner's, %v", order.GetServedBy(), want)
				}
				if from.Addr == nil {
					t.Error("no peer: want the winner's")
				}
				if len(finished) != 1 || finished[0] != err {
					t.Errorf("OnFinish called with %v: want once, with the error of the call", finished)
				}
			})
		})
	}
}

// A hedge is sent only if all allows it. When it is not, the first attempt goes on, and
// nothing is taken for the hedge.
func TestHedgeIsRefused(t *testing.T) {
	for _, test := range []struct {
		name      string
		instances int // 0: 3
		options   []surecall.Option
		ctx       func(context.Context) context.Context
		deadline  time.Duration
		before    func(*testing.T, *surecall.Client, *surecalltest.Cluster)
		hedged    bool
	}{
		{name: "all allows it", hedged: true},
		{name: "off for the call's method", options: []surecall.Option{surecall.ForMethod(getMethod, surecall.WithoutHedge())}},
		{name: "not idempotent", options: []surecall.Option{surecall.WithNotIdempotent("/orders.v1.Orders/G*")}},
		{name: "one instance", instances: 1},
		{name: "no other is eligible", instances: 2, before: func(_ *testing.T, _ *surecall.Client, c *surecalltest.Cluster) {
			c.Instance(1).Serving(false)
		}},
		{name: "budget empty", options: []surecall.Option{oneToken()}, before: func(t *testing.T, client *surecall.Client, c *surecalltest.Cluster) {
			failFirst(c, 1, codes.Unavailable)
			get(t, client)
		}},
		{name: "no time for it", deadline: 60 * time.Millisecond, before: func(t *testing.T, client *surecall.Client, _ *surecalltest.Cluster) {
			for range 40 { // the method takes 50 ms, as it does below
				get(t, client)
			}
		}},
		{name: "time for it", deadline: 200 * time.Millisecond, hedged: true, before: func(t *testing.T, client *surecall.Client, _ *surecalltest.Cluster) {
			for range 40 {
				if _, err := unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithoutHedge())); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{name: "chain stop", ctx: belowRetry},
		{name: "pinned", ctx: func(ctx context.Context) context.Context { return surecall.Pin(ctx, "orders-1") }},
		{name: "limit full", options: []surecall.Option{surecall.WithConcurrency(limit.Concurrency{Limit: 1})}},
		{name: "limit of its method full", options: []surecall.Option{
			surecall.ForMethod(getMethod, surecall.WithConcurrency(limit.Concurrency{Limit: 1})),
		}},
		{name: "room under the limit", options: []surecall.Option{surecall.WithConcurrency(limit.Concurrency{Limit: 2})}, hedged: true},
		{name: "service breaker open by hand", before: func(t *testing.T, client *surecall.Client, _ *surecalltest.Cluster) {
			time.AfterFunc(5*time.Millisecond, func() {
				if err := client.SetServiceMode(breaker.ForcedOpen); err != nil {
					t.Error(err)
				}
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if test.instances == 0 {
					test.instances = 3
				}
				cluster, events := scriptedCluster(t, test.instances, func(ctx context.Context, _ int64) error {
					return takes(ctx, 50*time.Millisecond)
				}), &log{}
				client := ready(t, cluster, append(test.options, events.option(), after10)...)
				if test.before != nil {
					test.before(t, client, cluster)
					synctest.Wait()
				}
				before, told := cluster.Calls(), len(eventsOf[event.AttemptHedged](events))
				ctx := t.Context()
				if test.ctx != nil {
					ctx = test.ctx(ctx)
				}
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				began := time.Now()
				if _, err := unary(ctx, client, getMethod); err != nil || time.Since(began) != 50*time.Millisecond {
					t.Errorf("error %v after %v: want success after 50ms", err, time.Since(began))
				}
				want := 1
				if test.hedged {
					want = 2
				}
				if n, e := cluster.Calls()-before, len(eventsOf[event.AttemptHedged](events))-told; n != want || e != want-1 {
					t.Errorf("%d attempts, %d AttemptHedged: want %d and %d", n, e, want, want-1)
				}
				synctest.Wait()
				for _, i := range client.Instances() {
					if i.InFlight != 0 {
						t.Errorf("%s: %d in flight after the call", i.ID, i.InFlight)
					}
				}
			})
		})
	}
}

// An instance limit counts for hedges too: where all others are full, none is sent, and
// least of all to the instance that takes long already.
func TestHedgeFindsAllOthersFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := scriptedCluster(t, 2, func(ctx context.Context, _ int64) error {
			return takes(ctx, 50*time.Millisecond)
		}), &log{}
		client := ready(t, cluster, events.option(), surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1}))
		go func() { _, _ = unary(t.Context(), client, getMethod) }()
		synctest.Wait()
		if err := client.Update(after10); err != nil {
			t.Fatal(err)
		}
		var trace surecall.CallTrace
		if _, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace)); err != nil {
			t.Error(err)
		}
		if n, told := cluster.Calls(), len(eventsOf[event.AttemptHedged](events)); n != 2 || told != 0 || len(trace.Attempts) != 1 {
			t.Errorf("%d calls reached the instances, %d AttemptHedged, attempts %+v: want no hedge", n, told, trace.Attempts)
		}
	})
}

// Both attempts hang: the call does not wait for either, but makes a third.
func TestHedgeAndFirstHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := scriptedCluster(t, 3, func(ctx context.Context, attempt int64) error {
			if attempt <= 2 {
				return takes(ctx, time.Hour)
			}
			return nil
		})
		client := ready(t, cluster, after10)
		var trace surecall.CallTrace
		began := time.Now()
		if _, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace)); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("took %v: want two attempt timeouts of at most 200 ms that overlap", took)
		}
		if a := trace.Attempts; len(a) != 3 || a[0].Instance == a[1].Instance || a[2].Instance == a[0].Instance || a[2].Instance == a[1].Instance {
			t.Errorf("attempts %+v: want three, each on another instance", a)
		}
	})
}

// Two of five instances stand still, and every call of a load finds a third, with hedges
// as without.
func TestHedgesWhileSomeHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 5)
		client := ready(t, cluster, surecall.WithHedge(retry.Hedge{}))
		slowReplies(cluster, 80*time.Millisecond)
		load(t, client, getMethod, 5*time.Millisecond, time.Second)
		cluster.Instance(0).Hang()
		cluster.Instance(1).BlackHole()
		wantAll(t, load(t, client, getMethod, 5*time.Millisecond, 4*time.Second), 500*time.Millisecond)
	})
}

// The caller leaves while both attempts are under way: the call returns at once, both are
// cancelled, no goroutine stays (the bubble sees to that), and nobody is blamed.
func TestCallerLeavesBothAttempts(t *testing.T) {
	for name, leave := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(30*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 30*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var ended atomic.Int64
				cluster, events := scriptedCluster(t, 3, func(ctx context.Context, _ int64) error {
					err := takes(ctx, time.Hour)
					ended.Add(1)
					return err
				}), &log{}
				client := ready(t, cluster, events.option(), after10, surecall.WithoutAttemptTimeout())
				ctx, cancel := leave(t.Context())
				defer cancel()
				began := time.Now()
				_, err := unary(ctx, client, getMethod)
				if took := time.Since(began); err == nil || took != 30*time.Millisecond {
					t.Errorf("error %v after %v: want it when the caller left, after 30ms", err, took)
				}
				synctest.Wait()
				if n := ended.Load(); n != 2 || len(eventsOf[event.AttemptHedged](events)) != 1 {
					t.Errorf("%d attempts have ended: want both", n)
				}
				for _, i := range client.Instances() {
					if i.InFlight != 0 || i.Breaker.Failures != 0 {
						t.Errorf("%s: %d in flight, %d failures: want none", i.ID, i.InFlight, i.Breaker.Failures)
					}
				}
			})
		})
	}
}
