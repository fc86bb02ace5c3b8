package surecall_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// One of three instances has too little room for its share of the calls, and says so. It
// gets about as many as it can take, what it has to shed falls to a few of a hundred calls,
// and it is neither ejected nor left alone for good. That is so with a choice that looks at
// nothing else, too.
func TestSheddingInstanceGetsLess(t *testing.T) {
	const takes = 40.0                                   // calls per second, of its share of 80
	small := surecalltest.Capacity{Workers: 2, Bound: 4} // each call takes 50 ms
	pushing := small
	pushing.Pushback = 500 * time.Millisecond
	for _, test := range []struct {
		name string
		shed func(*surecalltest.Instance)
		rest bool // it asks for one
	}{
		{"RESOURCE_EXHAUSTED", func(i *surecalltest.Instance) { i.Capacity(small) }, false},
		{"with grpc-retry-pushback-ms", func(i *surecalltest.Instance) { i.Capacity(pushing) }, true},
		{"with RetryInfo", func(i *surecalltest.Instance) {
			i.FailFunc(func(string, int64) error {
				if i.InFlight() > 3 {
					return retryIn(codes.ResourceExhausted, 500*time.Millisecond)
				}
				return nil
			})
		}, true},
		{"UNAVAILABLE with RetryInfo", func(i *surecalltest.Instance) {
			i.FailFunc(func(string, int64) error {
				if i.InFlight() > 3 {
					return retryIn(codes.Unavailable, 500*time.Millisecond)
				}
				return nil
			})
		}, true},
	} {
		for choice, option := range map[string]surecall.Option{"least loaded": surecall.WithOptions(), "in turn": inTurn()} {
			t.Run(test.name+"/"+choice, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					cluster, events := surecalltest.NewCluster(t, 3), &log{}
					client := ready(t, cluster, events.option(), option, surecall.WithoutRetry())
					for _, i := range cluster.Instances() {
						i.Delay(50 * time.Millisecond)
					}
					test.shed(cluster.Instance(0))
					load(t, client, getMethod, time.Second/240, time.Second)
					before := cluster.Instance(0).Calls()
					results := load(t, client, getMethod, time.Second/240, 6*time.Second)
					got := float64(cluster.Instance(0).Calls()-before) / 6
					t.Logf("%.0f calls per second of 80, %d of %d calls failed", got, failures(results), len(results))
					if got < takes/10 || got > 1.5*takes {
						t.Errorf("it got %.0f calls per second: want %.0f to %.0f", got, takes/10, 1.5*takes)
					}
					if failed := float64(failures(results)) / float64(len(results)); failed > 0.03 {
						t.Errorf("%.1f %% of the calls failed: want a few at most", 100*failed)
					}
					if ids := ejections(events); len(ids) > 0 {
						t.Errorf("ejected %v: want nobody", ids)
					}
					yields := eventsOf[event.InstanceYields](events)
					rests := 0
					for _, y := range yields {
						if y.Instance != cluster.Instance(0).ID() {
							t.Errorf("%+v: want only the one that sheds", y)
						}
						if y.For > 0 {
							rests++
						}
					}
					if len(yields) == 0 || (rests > 0) != test.rest {
						t.Errorf("%d times told that it yields, %d with a rest: want a rest %v", len(yields), rests, test.rest)
					}
				})
			})
		}
	}
}

// retryIn is an error whose details say when to come again.
func retryIn(code codes.Code, d time.Duration) error {
	s, err := status.New(code, "not now").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
	if err != nil {
		return err
	}
	return s.Err()
}

// When to repeat an answer of another kind, a conflict of transactions for example, says
// nothing about how much its instance can take; nor does it that it must not be repeated.
func TestPushbackOfARequestIsNotTheInstances(t *testing.T) {
	for name, interceptor := range map[string]grpc.UnaryServerInterceptor{
		"ABORTED with RetryInfo": func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
			return nil, retryIn(codes.Aborted, 20*time.Second)
		},
		"FAILED_PRECONDITION, never again": func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
			return nil, status.Error(codes.FailedPrecondition, "never again")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client := ready(t, surecalltest.NewCluster(t, 2, grpc.ChainUnaryInterceptor(interceptor)), surecall.WithoutRetry())
				load(t, client, getMethod, 20*time.Millisecond, 2*time.Second)
				for _, i := range client.Instances() {
					if i.Share != 1 || i.Rest != 0 {
						t.Errorf("%s: share %v, rest %v: want all of it, and none", i.ID, i.Share, i.Rest)
					}
				}
			})
		})
	}
}

// All instances are there to say that it is too much now: none is ejected, and the service
// is not taken for dead.
func TestPushbackIsNoDeath(t *testing.T) {
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Unavailable} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, 3), &log{}
			client := ready(t, cluster, events.option())
			for _, i := range cluster.Instances() {
				i.FailFunc(func(string, int64) error { return retryIn(code, 10*time.Millisecond) })
			}
			load(t, client, getMethod, 5*time.Millisecond, 3*time.Second)
			if ids, opened := ejections(events), eventsOf[event.ServiceBreakerChanged](events); len(ids)+len(opened) > 0 {
				t.Errorf("%v: ejected %v, service breaker %+v: want nothing of the kind", code, ids, opened)
			}
		})
	}
}

// A reply that is too large for its caller says nothing about how much its instance can
// take.
func TestTooLargeReplyIsNoOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 3))
		for range 30 {
			if _, err := unary(t.Context(), client, getMethod, grpc.MaxCallRecvMsgSize(1)); status.Code(err) != codes.ResourceExhausted {
				t.Fatal(err)
			}
		}
		for _, i := range client.Instances() {
			if i.Share != 1 {
				t.Errorf("%s: share %v: want all of it", i.ID, i.Share)
			}
		}
	})
}
