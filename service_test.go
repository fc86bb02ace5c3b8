package surecall_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// While nothing of the service answers, one call in 50 ms is let through, to each
// instance in turn, and all others are told at once; the first answer ends that.
func TestServiceBreaker(t *testing.T) {
	for _, instances := range []int{1, 3} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, instances), &log{}
			client := ready(t, cluster, events.option())
			failFirst(cluster, 1e9, codes.Unavailable)
			load(t, client, placeMethod, 5*time.Millisecond, 1500*time.Millisecond)
			if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) != 1 || !changes[0].Open || changes[0].Service != surecalltest.Service {
				t.Fatalf("%d instances: after 1.5 s of failures: %+v: want it open", instances, changes)
			}
			before := reached(cluster)
			rejected := 0
			results := load(t, client, placeMethod, 5*time.Millisecond, 3*time.Second)
			for _, r := range results {
				if !errors.Is(r.err, surecall.ErrServiceDown) {
					continue
				}
				rejected++
				var rejection *surecall.Rejection
				if !errors.As(r.err, &rejection) || rejection.RetryAfter != 50*time.Millisecond || r.took != 0 {
					t.Fatalf("%d instances: %+v after %v: want a rejection at once", instances, rejection, r.took)
				}
			}
			after := reached(cluster)
			if trials := sum(after) - sum(before); trials < 58 || trials > 61 || rejected != len(results)-trials {
				t.Errorf("%d instances: %d trials and %d rejections in 3 s: want a trial in 50 ms", instances, trials, rejected)
			}
			for n := range after {
				if trials := after[n] - before[n]; trials < 60/instances-2 || trials > 60/instances+2 {
					t.Errorf("%d instances: instance %d had %d of 60 trials: want its turn", instances, n, trials)
				}
			}
			cluster.Instance(0).Fail(codes.OK)
			advance(time.Duration(instances) * 50 * time.Millisecond)
			load(t, client, placeMethod, 10*time.Millisecond, 200*time.Millisecond)
			if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) != 2 || changes[1].Open {
				t.Errorf("%d instances: after it was healed: %+v: want it closed", instances, changes)
			}
			if instances == 1 {
				wantAll(t, load(t, client, placeMethod, 5*time.Millisecond, time.Second), 0)
			}
		})
	}
}

// A call that waits for ready waits for the breaker to close, or for its turn.
func TestServiceBreakerWaitForReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		client := ready(t, cluster, events.option())
		failFirst(cluster, 1e9, codes.Unavailable)
		load(t, client, getMethod, 5*time.Millisecond, 1500*time.Millisecond)
		time.AfterFunc(time.Second, func() { cluster.Instance(0).Fail(codes.OK) })
		go load(t, client, getMethod, 10*time.Millisecond, 2*time.Second) // these are the trials
		rejections := len(eventsOf[event.CallRejected](events))
		waiting := 0
		for range 20 {
			began := time.Now()
			// The trials that come before it is healed may fail, which is an answer.
			if _, err := unary(t.Context(), client, getMethod, grpc.WaitForReady(true)); errors.Is(err, surecall.ErrServiceDown) {
				t.Errorf("rejected: %v", err)
			}
			if time.Since(began) > 0 {
				waiting++
			}
		}
		if waiting == 0 {
			t.Errorf("no call waited, after %d rejections", rejections)
		}
		advance(3 * time.Second)
	})
}

// Streams are refused too, and feed the breaker with their ends.
func TestServiceBreakerAndStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option())
		failFirst(cluster, 1e9, codes.Unavailable)
		refused := 0
		for range 200 {
			stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if errors.Is(err, surecall.ErrServiceDown) {
				refused++
			}
			advance(10 * time.Millisecond)
		}
		if refused < 80 {
			t.Errorf("%d of 200 streams in 2 s of failures were refused with ErrServiceDown: want most of the second half", refused)
		}
		if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) != 1 {
			t.Errorf("%+v: want one opening", changes)
		}
	})
}

func TestWithoutServiceBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutServiceBreaker())
		failFirst(cluster, 1e9, codes.Unavailable)
		load(t, client, getMethod, 5*time.Millisecond, 3*time.Second)
		if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes)+len(eventsOf[event.CallRejected](events)) > 0 {
			t.Errorf("%+v: want no service breaker", changes)
		}
	})
}

func TestServiceBreakerPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithServiceBreaker(breaker.ServicePolicy{Quiet: 100 * time.Millisecond, MinFailures: 5}))
		failFirst(cluster, 1e9, codes.Unavailable)
		load(t, client, placeMethod, 10*time.Millisecond, 200*time.Millisecond)
		if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) != 1 {
			t.Errorf("%+v: want it open after 100 ms", changes)
		}
	})
}
