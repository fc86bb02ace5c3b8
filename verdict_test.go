package surecall_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// inTurn has instances picked without regard to how they do, so that a bad one goes on
// to get calls until it is ejected.
func inTurn() surecall.Option {
	return surecall.WithBalancer(balancer.Policy{Choice: balancer.RoundRobin})
}

// What the end of an attempt means for its instance, with the errors that gRPC really
// returns: one of three instances ends all its calls like that.
func TestVerdicts(t *testing.T) {
	fail := func(code codes.Code) func(*surecalltest.Instance) {
		return func(i *surecalltest.Instance) { i.Fail(code) }
	}
	for _, test := range []struct {
		name    string
		damage  func(*surecalltest.Instance)
		ejected bool
	}{
		{"UNAVAILABLE", fail(codes.Unavailable), true},
		{"INTERNAL", fail(codes.Internal), true},
		{"DATA_LOSS", fail(codes.DataLoss), true},
		{"UNKNOWN", fail(codes.Unknown), false},
		{"NOT_FOUND", fail(codes.NotFound), false},
		{"INVALID_ARGUMENT", fail(codes.InvalidArgument), false},
		{"PERMISSION_DENIED", fail(codes.PermissionDenied), false},
		{"UNIMPLEMENTED", fail(codes.Unimplemented), false},
		{"CANCELED by the handler", fail(codes.Canceled), false},
		{"ABORTED", fail(codes.Aborted), false},
		{"RESOURCE_EXHAUSTED", fail(codes.ResourceExhausted), false},
		{"DEADLINE_EXCEEDED at once", fail(codes.DeadlineExceeded), false},
		{"two of three calls UNAVAILABLE", func(i *surecalltest.Instance) {
			i.FailFunc(func(_ string, call int64) error {
				if call%3 > 0 {
					return status.Error(codes.Unavailable, "two of three")
				}
				return nil
			})
		}, true},
		{"a tenth of the calls UNAVAILABLE", func(i *surecalltest.Instance) {
			i.FailFunc(func(_ string, call int64) error {
				if call%10 == 0 {
					return status.Error(codes.Unavailable, "every tenth")
				}
				return nil
			})
		}, false},
		{"hangs", (*surecalltest.Instance).Hang, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, 3), &log{}
				client := ready(t, cluster, events.option(), inTurn())
				teach(t, cluster, client, 40, 5*time.Millisecond)
				test.damage(cluster.Instance(0))
				load(t, client, getMethod, 10*time.Millisecond, 4*time.Second)
				ids := ejections(events)
				if ejected := slices.Contains(ids, cluster.Instance(0).ID()); ejected != test.ejected {
					t.Errorf("ejected: %v: want %v", ejected, test.ejected)
				}
				if slices.ContainsFunc(ids, func(id string) bool { return id != cluster.Instance(0).ID() }) {
					t.Errorf("ejected %v: want no other", ids)
				}
			})
		})
	}
}

// A method whose handler is broken fails on every instance. That must not eject them
// for the methods that work.
func TestBrokenMethodEjectsNobody(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.Unavailable} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, 4), &log{}
			client := ready(t, cluster, events.option())
			for _, i := range cluster.Instances() {
				i.FailFunc(func(method string, _ int64) error {
					if method == placeMethod {
						return status.Error(code, "nil pointer")
					}
					return nil
				})
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				load(t, client, placeMethod, 20*time.Millisecond, 30*time.Second)
			}()
			wantAll(t, load(t, client, getMethod, 20*time.Millisecond, 30*time.Second), time.Second)
			<-done
			if ids := ejections(events); len(ids) > 0 {
				t.Errorf("%v: ejected %v: want nobody", code, ids)
			}
		})
	}
}

// A message that is too large is the caller's own doing.
func TestMessageTooLargeEjectsNobody(t *testing.T) {
	for name, limit := range map[string]grpc.CallOption{
		"to send": grpc.MaxCallSendMsgSize(1), "to receive": grpc.MaxCallRecvMsgSize(1),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, 2), &log{}
				client := ready(t, cluster, events.option())
				for range 50 {
					if _, err := unary(t.Context(), client, getMethod, limit); status.Code(err) != codes.ResourceExhausted {
						t.Fatalf("error %v: want RESOURCE_EXHAUSTED", err)
					}
				}
				if ids := ejections(events); len(ids) > 0 {
					t.Errorf("ejected %v: want nobody", ids)
				}
				if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) > 0 {
					t.Errorf("service breaker %+v", changes)
				}
			})
		})
	}
}

// An instance that fails is ejected, gets no calls but trials, and comes back, slowly,
// by a trial after it is healed. No idempotent call fails for it.
func TestEjectionAndReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), inTurn())
		bad := cluster.Instance(0)
		bad.Fail(codes.Unavailable)
		wantAll(t, load(t, client, getMethod, 20*time.Millisecond, 20*time.Second), 100*time.Millisecond)
		// 5 in a row, and trials after 5, 10 and 20 s, give or take a fifth.
		if n := bad.Calls(); n < 6 || n > 10 {
			t.Errorf("%d calls in 20 s: want 5 and a few trials", n)
		}
		bad.Fail(codes.OK)
		before := bad.Calls()
		wantAll(t, load(t, client, getMethod, 20*time.Millisecond, 70*time.Second), 100*time.Millisecond)
		states := []event.State{}
		for _, c := range eventsOf[event.InstanceChanged](events) {
			if c.Instance == bad.ID() {
				states = append(states, c.To)
			}
		}
		if want := []event.State{event.Eligible, event.Ejected, event.Eligible}; !slices.Equal(states, want) {
			t.Errorf("states %q: want %q", states, want)
		}
		if n := bad.Calls() - before; n < 3500/3/2 {
			t.Errorf("%d of 3500 calls after it was healed: want its share", n)
		}
		for _, i := range client.Instances() {
			if i.State != event.Eligible || i.SlowStart != 1 {
				t.Errorf("%s is %s with %.2f of its share: want eligible, all of it", i.ID, i.State, i.SlowStart)
			}
		}
	})
}

// A trial waits for a call that can be retried, so that no caller sees it fail.
func TestTrialPrefersWhatCanBeRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, inTurn())
		bad := cluster.Instance(0)
		bad.Fail(codes.Unavailable)
		load(t, client, getMethod, 5*time.Millisecond, time.Second)
		// Few can be retried among many that cannot: the few must not be kept from it.
		go func() {
			advance(7 * time.Millisecond) // never at the same moment as one of the many
			load(t, client, getMethod, 100*time.Millisecond, 18*time.Second)
		}()
		for _, r := range load(t, client, placeMethod, 5*time.Millisecond, 18*time.Second) {
			if r.err != nil {
				t.Errorf("a call that cannot be retried was made a trial: %v", r.err)
				break
			}
		}
		advance(time.Second)
	})
}

// Not more than half of the instances are ejected; the others serve on, overruled.
func TestEjectionsAreCapped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 4), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutServiceBreaker(), surecall.WithoutRetry())
		for n := range 3 {
			cluster.Instance(n).Fail(codes.Unavailable)
		}
		load(t, client, getMethod, 5*time.Millisecond, 4*time.Second)
		ejected := 0
		for _, i := range client.Instances() {
			if i.State == event.Ejected {
				ejected++
			}
		}
		if ejected > 2 {
			t.Errorf("%d of 4 ejected: want at most 2", ejected)
		}
	})
}

// The classifier decides, and can be replaced.
func TestClassifier(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), inTurn(), surecall.WithClassifier(func(o breaker.Outcome) breaker.Verdict {
			if o.Code == codes.NotFound {
				return breaker.Failure
			}
			return breaker.Classify(o)
		}))
		cluster.Instance(0).Fail(codes.NotFound)
		load(t, client, getMethod, 5*time.Millisecond, time.Second)
		if ids := ejections(events); !slices.Equal(ids, []string{cluster.Instance(0).ID()}) {
			t.Errorf("ejected %v: want the one", ids)
		}
	})
}

// Without breakers nobody is ejected.
func TestWithoutBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutBreaker())
		cluster.Instance(0).Fail(codes.Unavailable)
		load(t, client, getMethod, 5*time.Millisecond, 2*time.Second)
		if ids := ejections(events); len(ids) > 0 {
			t.Errorf("ejected %v: want nobody", ids)
		}
	})
}

// A server's error reaches the caller as it is.
func TestServerErrorsPassThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		want := status.New(codes.FailedPrecondition, "the order is closed")
		cluster.Instance(0).FailFunc(func(string, int64) error { return want.Err() })
		_, err := unary(t.Context(), client, placeMethod)
		if got := status.Convert(err); got.Code() != want.Code() || got.Message() != want.Message() || strings.Contains(err.Error(), "surecall") {
			t.Errorf("error %v: want %v, untouched", err, want.Err())
		}
	})
}

// What gRPC itself refuses to send says nothing of an instance or of the service.
func TestMessageThatCannotBeEncoded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option())
		for range 60 {
			_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "\xff"})
			if status.Code(err) != codes.Internal {
				t.Fatalf("error %v: want INTERNAL", err)
			}
			advance(50 * time.Millisecond)
		}
		for _, i := range client.Instances() {
			if i.Breaker.Failures != 0 {
				t.Errorf("%s: %d failures counted: want none", i.ID, i.Breaker.Failures)
			}
		}
		if opened := eventsOf[event.ServiceBreakerChanged](events); len(opened) > 0 {
			t.Errorf("service breaker: %+v: want that it stays closed", opened)
		}
	})
}

// An attempt that is cut because the caller's time is short, while it takes no longer
// than its method does, blames nobody.
func TestCutBeforeItsTimeBlamesNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		// One call in ten takes 60 ms, and the others 10: that is learned. Then all do.
		for n := range 200 {
			took, left := 10*time.Millisecond, time.Second
			if n%10 == 0 || n >= 100 {
				took = 60 * time.Millisecond
			}
			if n >= 100 {
				left /= 10
			}
			for _, i := range cluster.Instances() {
				i.Delay(took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), left)
			_, _ = orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{})
			cancel()
		}
		for _, i := range client.Instances() {
			if i.State != event.Eligible || i.Breaker.Failures != 0 {
				t.Errorf("%s: %v, %d failures: want it eligible with none", i.ID, i.State, i.Breaker.Failures)
			}
		}
	})
}

// A service that answers INTERNAL to one method is there for the others.
func TestBrokenMethodDoesNotMakeTheServiceDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		for _, i := range cluster.Instances() {
			i.FailFunc(func(method string, _ int64) error {
				if method == cancelMethod {
					return status.Error(codes.Internal, "broken")
				}
				return nil
			})
		}
		stub := orders.NewOrdersClient(client)
		for n := range 2000 { // twenty seconds, and a good call in every four
			_, _ = stub.Cancel(t.Context(), &orders.CancelRequest{})
			if n%400 == 399 {
				if _, err := stub.Get(t.Context(), &orders.GetRequest{}); err != nil {
					t.Errorf("the other method: %v", err)
				}
			}
			advance(10 * time.Millisecond)
		}
	})
}
