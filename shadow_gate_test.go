package surecall_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// A method whose breaker would be open comes back by the calls that it would have rejected.
func TestShadowMethodBreakerCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithShadow(), surecall.WithMethodBreaker(breaker.MethodPolicy{}))
		failAll(cluster, codes.Internal)
		load(t, client, placeMethod, 10*time.Millisecond, time.Second)
		failAll(cluster, codes.OK)
		load(t, client, placeMethod, 100*time.Millisecond, time.Minute)
		before := of(t, client, placeMethod).WouldReject["method down"]
		load(t, client, placeMethod, 100*time.Millisecond, time.Minute)
		if n := of(t, client, placeMethod).WouldReject["method down"]; before == 0 || n != before {
			t.Errorf("%d calls would have been rejected, %d a minute later: want no more, the method is well", before, n)
		}
	})
}

// A stream counts by its first message, and not by what becomes of it later.
func TestShadowStreamsCountEarly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithShadow(),
			surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 2, SlowCall: 100 * time.Millisecond, SlowRatio: 0.1}))
		for range 10 {
			stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			advance(time.Second)
			for _, i := range cluster.Instances() {
				i.Kill()
				i.Start()
			}
			if _, err = stream.Recv(); err == nil {
				t.Error("the stream goes on")
			}
			advance(time.Second)
		}
		if got := of(t, client, watchMethod); got.Failed != 10 || len(got.WouldReject) > 0 {
			t.Errorf("%+v: want 10 that failed, and none that would have been rejected", got)
		}
	})
}

// What an instance's limit would have refused would not have been repeated.
func TestShadowRejectedIsNotSaved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		one := limit.Concurrency{Limit: 1}
		client := ready(t, cluster, surecall.WithShadow(), surecall.WithInstanceConcurrency(one),
			surecall.WithInstanceStreamConcurrency(one), surecall.WithStreamConcurrency(one))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		open, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
		if err == nil {
			_, err = open.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		holdOne(t, cluster, client)
		cluster.Instance(0).Fail(codes.Unavailable)
		cluster.Add().Fail(codes.Unavailable) // a retry would have had where to go
		advance(time.Second)
		cluster.Instance(1).Delist()
		advance(time.Second)
		_, _ = unary(t.Context(), client, getMethod)
		if stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{}); err == nil {
			_, _ = stream.Recv()
		}
		for _, method := range []string{getMethod, watchMethod} {
			if got := of(t, client, method); got.WouldReject["concurrency limit"] != 1 || len(got.WouldRetry)+len(got.WouldDeny) > 0 || got.Saved > 0 {
				t.Errorf("%s: %+v: want one that would have been rejected, and nothing after that", method, got)
			}
		}
	})
}

// A stream that ends with an error of SendMsg is over for everybody.
func TestShadowSendFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithShadow())
		var trace surecall.CallTrace
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := orders.NewOrdersClient(client).Import(ctx, surecall.Trace(&trace), grpc.MaxCallSendMsgSize(10))
		if err == nil {
			err = stream.Send(&orders.PlaceRequest{Item: strings.Repeat("tea", 10)})
		}
		if status.Code(err) != codes.ResourceExhausted || trace.Err != err {
			t.Errorf("sent: %v, told: %v: want that it is over", err, trace.Err)
		}
		if got := of(t, client, "/orders.v1.Orders/Import"); got.Failed != 1 {
			t.Errorf("%+v: want one that failed", got)
		}
	})
}

// What a header of the request forces is rehearsed too; one that is wrong does no harm.
func TestShadowHeedsPolicyHeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithShadow(), surecall.WithPolicyHeader(policyHeader))
		ctx := metadata.AppendToOutgoingContext(t.Context(), policyHeader, `{"idempotent": true}`)
		cluster.Instance(0).Fail(codes.Unavailable)
		times(ctx, client, placeMethod, 10)
		if got := of(t, client, placeMethod); got.Saved != 5 {
			t.Errorf("%+v: want 5 that the header would have saved", got)
		}
		cluster.Instance(0).Fail(codes.OK)
		if _, err := unary(metadata.AppendToOutgoingContext(t.Context(), policyHeader, "{"), client, placeMethod); err != nil {
			t.Error(err)
		}
	})
}

// Explain knows nothing of errors in shadow mode, which are gRPC's own; BadCalls does.
func TestShadowErrorsAreOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithShadow())
		cluster.Instance(0).Fail(codes.Unavailable)
		_, err := unary(t.Context(), client, getMethod)
		if err == nil || surecall.Explain(err) != nil {
			t.Errorf("%T, explained as %v", err, surecall.Explain(err))
		}
		if bad := client.BadCalls(); len(bad) != 1 || len(bad[0].Call.Attempts) != 1 {
			t.Errorf("recorded %v: want one call of one attempt", bad)
		}
	})
}

// What a cache has kept does not outlive a time in which it was off, or in shadow mode: not
// even if it was filled by a call that began before.
func TestCacheIsForgottenWhileOff(t *testing.T) {
	for name, off := range map[string][2]surecall.LiveOption{
		"disabled": {surecall.WithDisabled(surecall.ProtectionCache), surecall.WithDisabled()},
		"shadow":   {surecall.WithShadow(), surecall.WithoutShadow()},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				client := ready(t, cluster, surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour, Stale: time.Hour}))
				release := holdAll(cluster)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = unary(t.Context(), client, getMethod)
				}()
				synctest.Wait()
				update(t, client, off[0])
				release()
				<-ended
				update(t, client, off[1])
				before := cluster.Calls()
				get(t, client)
				if cluster.Calls() == before {
					t.Error("answered from the cache")
				}
			})
		})
	}
}
