package surecall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// everything switches each policy on.
func everything() surecall.Option {
	adaptive := limit.Concurrency{Adaptive: limit.Adaptive{On: true, Initial: 30}}
	queued := limit.Concurrency{Limit: 60, Queue: limit.Queue{MaxWaiting: 100}}
	return surecall.WithOptions(
		surecall.WithCallDeadline(2*time.Second),
		surecall.WithRateLimit(limit.Rate{PerSecond: 5000, Wait: true}),
		surecall.WithThrottle(limit.Throttle{K: 4}),
		surecall.WithConcurrency(queued),
		surecall.WithInstanceConcurrency(adaptive),
		surecall.WithStreamConcurrency(limit.Concurrency{Limit: 20, Queue: limit.Queue{MaxWaiting: 20}}),
		surecall.WithInstanceStreamConcurrency(limit.Concurrency{Limit: 10}),
		surecall.WithRetry(retry.Policy{Codes: []codes.Code{codes.Unavailable, codes.Internal}, Unwanted: func(reply any) bool {
			order, ok := reply.(*orders.Order)
			return ok && order.GetId() == "unwanted"
		}}),
		surecall.WithHedge(retry.Hedge{Delay: 12 * time.Millisecond}),
		surecall.WithRetryBudget(paid),
		surecall.WithCallID(),
		surecall.WithActiveProbe(time.Second),
		surecall.WithFallback(madeUp),
		surecall.WithFallbackReserve(100*time.Millisecond),
		surecall.ForMethod(getMethod, surecall.WithCache(surecall.CachePolicy{Fresh: 20 * time.Millisecond}), surecall.WithConcurrency(queued)),
		surecall.ForMethod(cancelMethod, surecall.WithoutThrottle(), surecall.WithMethodBreaker(breaker.MethodPolicy{SlowCall: time.Second})),
	)
}

// turns are what the policies are changed to, one after the other.
var turns = [][]surecall.LiveOption{
	{surecall.WithoutHedge(), surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 1})},
	{surecall.WithHedge(retry.Hedge{}), surecall.WithoutInstanceConcurrency(), surecall.WithBreaker(breaker.Policy{DryRun: true})},
	{surecall.WithConcurrency(limit.Concurrency{Adaptive: limit.Adaptive{On: true, Initial: 60}}), surecall.WithoutRateLimit(), surecall.WithoutServiceBreaker()},
	{surecall.WithThrottle(limit.Throttle{K: 3}), surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 60}), surecall.WithoutCallID()},
	{surecall.WithoutBreaker(), surecall.WithRetry(retry.Policy{}), surecall.WithServiceBreaker(breaker.ServicePolicy{})},
	{surecall.WithBreaker(breaker.Policy{}), surecall.WithHedge(retry.Hedge{Delay: 5 * time.Millisecond}), surecall.WithRateLimit(limit.Rate{PerSecond: 3000})},
}

// Every policy is on, all of them are changed while 64 callers call, and instances fail,
// hang, shed and die. Each caller gets its own answer or an error in time; and when all is
// over, nothing is held, nobody is out, and calls succeed.
func TestEverythingTogether(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { together(t, rand.New(rand.NewPCG(seed, 64))) })
		})
	}
}

func together(t *testing.T, random *rand.Rand) {
	const callers, each = 64, 25
	cluster, events := surecalltest.NewCluster(t, 6), &log{}
	client := ready(t, cluster, everything(), events.option())
	slowReplies(cluster, 80*time.Millisecond)

	ctx, stop := context.WithCancel(t.Context())
	var meddlers sync.WaitGroup
	meddlers.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := client.Update(turns[n%len(turns)]...); err != nil {
				t.Error(err)
			}
			advance(40 * time.Millisecond)
		}
	})
	meddlers.Go(func() {
		for ctx.Err() == nil {
			meddle(cluster.Instance(random.IntN(6)), random.IntN(11))
			advance(time.Duration(random.IntN(60)) * time.Millisecond)
		}
	})
	var calls sync.WaitGroup
	var failed atomic.Int64
	for caller := range callers {
		calls.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 1))
			for n := range each {
				id := fmt.Sprint(caller, "/", n)
				began := time.Now()
				got, err := callSomehow(t.Context(), client, random, id)
				if took := time.Since(began); err == nil && got != id || took > 2*time.Second {
					t.Errorf("call %s: reply %q, error %v after %v: want its own within 2s", id, got, err, took)
				}
				if err != nil {
					failed.Add(1)
				}
				advance(time.Duration(random.IntN(20)) * time.Millisecond)
			}
		})
	}
	calls.Wait()
	stop()
	meddlers.Wait()

	hedged, retried, second := len(eventsOf[event.AttemptHedged](events)), len(eventsOf[event.AttemptRetried](events)), len(eventsOf[event.CallServedSecondBest](events))
	t.Logf("of %d calls %d failed and %d were served second best; %d hedges, %d retries, %d rejections, %d ejections, %d yields",
		callers*each, failed.Load(), second, hedged, retried, len(eventsOf[event.CallRejected](events)), len(ejections(events)), len(eventsOf[event.InstanceYields](events)))
	if hedged == 0 || retried == 0 {
		t.Error("no hedge or no retry: want some of each, to show anything")
	}
	for _, i := range cluster.Instances() {
		meddle(i, 0)
		i.DelayFunc(nil)
	}
	for range 60 { // longer than an ejection, and than what limits and throttles remember
		_, _ = unary(t.Context(), client, cancelMethod)
		advance(2 * time.Second)
	}
	wantAll(t, load(t, client, cancelMethod, 5*time.Millisecond, time.Second), 100*time.Millisecond)
	synctest.Wait()
	for _, i := range client.Instances() {
		if i.State != event.Eligible || i.InFlight != 0 || i.Streams != 0 {
			t.Errorf("%s when all is over: %v, %d attempts and %d streams in flight: want it eligible and idle", i.ID, i.State, i.InFlight, i.Streams)
		}
	}
}

// meddle does something to an instance; 0 heals it.
func meddle(i *surecalltest.Instance, how int) {
	switch how {
	default:
		i.Resume()
		i.Fail(codes.OK)
		i.Capacity(surecalltest.Capacity{})
		i.LoseAnswers(0)
		i.Serving(true)
		i.Start()
	case 1:
		i.Hang()
	case 2:
		i.Fail(codes.Unavailable)
	case 3:
		i.FailSome(0.3, codes.Internal)
	case 4:
		i.Capacity(surecalltest.Capacity{Workers: 2, ServiceTime: 5 * time.Millisecond, Bound: 4, Pushback: 100 * time.Millisecond})
	case 5:
		i.Resume()
		i.Kill()
	case 6:
		i.LoseAnswers(0.1)
	case 7:
		i.Serving(false)
	}
}

// callSomehow makes a call of some kind and returns the ID that it was answered with.
func callSomehow(ctx context.Context, client *surecall.Client, random *rand.Rand, id string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ctx = surecall.WithPriority(ctx, limit.Priority(random.IntN(3)-1))
	switch random.IntN(6) {
	case 0:
		ctx = surecall.Sticky(ctx, id)
	case 1:
		ctx = surecall.Pin(ctx, fmt.Sprint("orders-", 1+random.IntN(6)))
	}
	stub := orders.NewOrdersClient(client)
	var order *orders.Order
	var err error
	switch random.IntN(5) {
	case 0:
		var trace surecall.CallTrace
		var header, trailer metadata.MD
		order, err = stub.Get(ctx, &orders.GetRequest{Id: id}, surecall.Trace(&trace), grpc.Header(&header), grpc.Trailer(&trailer))
	case 1:
		order, err = stub.Cancel(ctx, &orders.CancelRequest{Id: id}, surecall.ForCall(surecall.WithRetry(retry.Policy{MaxAttempts: 2})))
	case 2:
		order, err = stub.Place(ctx, &orders.PlaceRequest{Item: id})
		return order.GetItem(), err
	case 3:
		var stream grpc.ServerStreamingClient[orders.Order]
		if stream, err = stub.Watch(ctx, &orders.GetRequest{Id: id}); err == nil {
			order, err = stream.Recv()
		}
	default:
		order, err = stub.Get(ctx, &orders.GetRequest{Id: id})
	}
	return order.GetId(), err
}
