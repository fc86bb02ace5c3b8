package surecall_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

func wantDenial(t *testing.T, events *log, want ...event.Denial) {
	t.Helper()
	if why := denials(events); !slices.Equal(why, want) {
		t.Errorf("denied for %q: want %q", why, want)
	}
}

func TestRetryDeniedByAttempts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 5), &log{}
		client := ready(t, cluster, events.option(), surecall.ForMethod(getMethod, surecall.WithRetry(retry.Policy{MaxAttempts: 2})))
		failFirst(cluster, 100, codes.Unavailable)
		if _, err := unary(t.Context(), client, getMethod); status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
		wantDenial(t, events, event.AttemptsSpent)
		if n := sum(reached(cluster)); n != 2 {
			t.Errorf("%d attempts: want 2", n)
		}
		d := eventsOf[event.RetryDenied](events)[0]
		if d.Service != surecalltest.Service || d.Method != getMethod || d.Instance == "" || d.Attempt != 2 || status.Code(d.Cause) != codes.Unavailable {
			t.Errorf("event %+v: want service, method, instance, attempt and cause", d)
		}
	})
}

// oneToken is a budget for a single retry.
func oneToken() surecall.Option {
	return surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 1e-9, PerSecond: 1e-9, MinCapacity: 1})
}

// One budget is shared by all methods of a client.
func TestRetryDeniedByBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), oneToken())
		failFirst(cluster, 1, codes.Unavailable)
		get(t, client)
		wantDenial(t, events)
		failFirst(cluster, 1, codes.Unavailable)
		if _, err := unary(t.Context(), client, cancelMethod); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v: want the server's", err)
		}
		wantDenial(t, events, event.BudgetEmpty)
	})
}

// A storm of failures is answered by retries for at most a fifth of the calls, and ten
// per second.
func TestRetriesOfAStormAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 10)
		client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
		failFirst(cluster, 1e9, codes.Unavailable)
		calls := len(load(t, client, getMethod, 2*time.Millisecond, 4*time.Second))
		retries := sum(reached(cluster)) - calls
		// Full at the beginning: 10 per second of one second, and a fifth of its calls.
		if most := 110 + calls/5 + 10*4; retries > most || retries < calls/5 {
			t.Errorf("%d retries of %d calls: want at most %d, and a fifth at least", retries, calls, most)
		}
	})
}

// An attempt that could not end before the deadline is not begun.
func TestRetryDeniedByDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutAttemptTimeout())
		for _, i := range cluster.Instances() {
			i.Delay(100 * time.Millisecond)
		}
		for range 20 {
			get(t, client)
		}
		before := sum(reached(cluster))
		failFirst(cluster, 1, codes.Unavailable)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		if _, err := unary(ctx, client, getMethod); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v: want the server's", err)
		}
		wantDenial(t, events, event.NoTimeLeft)
		if n := sum(reached(cluster)) - before; n != 1 {
			t.Errorf("%d attempts: want 1", n)
		}
	})
}

// pushing is an orders server that fails with a pushback.
type pushing struct {
	orders.UnimplementedOrdersServer
	pushback string
	calls    int
}

func (s *pushing) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	if s.calls++; s.calls > 1 {
		return &orders.Order{}, nil
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", s.pushback))
	return nil, status.Error(codes.Unavailable, "too much")
}

func TestRetryDeniedOrDelayedByPushback(t *testing.T) {
	for _, pushback := range []int{-1, 0, 700, 6000} {
		bubble(t, func(t *testing.T) {
			server := &pushing{pushback: strconv.Itoa(pushback)}
			cluster, events := surecalltest.NewClusterOf(t, 2, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
				orders.RegisterOrdersServer(s, server)
			}), &log{}
			client := ready(t, cluster, events.option())
			began := time.Now()
			_, err := unary(t.Context(), client, getMethod)
			wait := time.Duration(pushback) * time.Millisecond
			switch took := time.Since(began); {
			case pushback < 0:
				wantDenial(t, events, event.ServerPushback)
			case wait > surecall.DefaultCallDeadline:
				wantDenial(t, events, event.NoTimeLeft)
			case err != nil || took != wait:
				t.Errorf("pushback %v: took %v, error %v: want the retry exactly then", wait, took, err)
			}
		})
	}
}

// A handler that runs in a retried attempt does not retry in its turn what may have
// been executed, or the attempts would multiply from service to service.
func TestRetryDeniedByChainStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option())
		failFirst(cluster, 1, codes.Unavailable)
		if _, err := unary(belowRetry(t.Context()), client, getMethod); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v: want the server's", err)
		}
		wantDenial(t, events, event.ChainStop)
	})
}

// While nothing of the service answers, retries would only add to it.
func TestRetryDeniedWhileServiceIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option())
		failFirst(cluster, 1e9, codes.Unavailable)
		load(t, client, getMethod, 10*time.Millisecond, 2*time.Second)
		if !slices.Contains(denials(events), event.ServiceDown) {
			t.Errorf("no retry of 2 s of failures was denied for a service that is down")
		}
	})
}
