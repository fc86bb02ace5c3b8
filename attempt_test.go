package surecall_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// teach makes n calls that take as long as all instances are told to.
func teach(t *testing.T, c *surecalltest.Cluster, client *surecall.Client, n int, takes time.Duration) {
	t.Helper()
	for _, i := range c.Instances() {
		i.Delay(takes)
	}
	for range n {
		get(t, client)
	}
}

func hangAll(c *surecalltest.Cluster) {
	for _, i := range c.Instances() {
		i.Hang()
	}
}

func resumeAll(c *surecalltest.Cluster) {
	for _, i := range c.Instances() {
		i.Resume()
	}
}

// The attempt timeout is 200 ms until 20 answers are known, then 4 times the method's
// p99 and at least 100 ms, and never more than half of what is left of the call.
func TestAttemptTimeout(t *testing.T) {
	const ms = time.Millisecond
	fixed := surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 30 * ms})
	initial := surecall.ForMethod(getMethod, surecall.WithAttemptTimeout(surecall.AttemptTimeout{Initial: 20 * ms}))
	none := surecall.WithOptions()
	for _, test := range []struct {
		name        string
		option      surecall.Option
		answers     int
		takes       time.Duration // each of them
		deadline    time.Duration
		least, most time.Duration
	}{
		{"nothing known", none, 0, 0, 5 * time.Second, 200 * ms, 200 * ms},
		{"19 answers", none, 19, 10 * ms, 5 * time.Second, 200 * ms, 200 * ms},
		{"20 fast answers", none, 20, 10 * ms, 5 * time.Second, 100 * ms, 100 * ms},
		{"20 answers", none, 20, 50 * ms, 5 * time.Second, 200 * ms, 225 * ms},
		{"half of what is left", none, 20, 50 * ms, 300 * ms, 150 * ms, 150 * ms},
		{"set", fixed, 20, 10 * ms, 5 * time.Second, 30 * ms, 30 * ms},
		{"set for the method", initial, 0, 0, 5 * time.Second, 20 * ms, 20 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 2)
				var began time.Time
				var after time.Duration
				client := ready(t, cluster, test.option, surecall.WithEvents(func(e event.Event) {
					if _, ok := e.(event.AttemptRetried); ok && after == 0 {
						after = time.Since(began)
					}
				}))
				teach(t, cluster, client, test.answers, test.takes)
				hangAll(cluster)
				ctx, cancel := context.WithTimeout(t.Context(), test.deadline)
				defer cancel()
				began = time.Now()
				if _, err := unary(ctx, client, getMethod); status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("error %v: want DEADLINE_EXCEEDED", err)
				}
				if took := time.Since(began); took != test.deadline {
					t.Errorf("the call took %v: want the caller's deadline, %v", took, test.deadline)
				}
				if after < test.least || after > test.most {
					t.Errorf("first retry after %v: want %v to %v", after, test.least, test.most)
				}
			})
		})
	}
}

// An attempt is not cut unless another follows: the last one, one of a method that is
// not idempotent, one without the time or the tokens for a retry, and one below a
// retried attempt go on, and may succeed late.
func TestAttemptIsNotCutForNothing(t *testing.T) {
	for _, test := range []struct {
		name     string
		method   string
		options  []surecall.Option
		spend    bool // the only token
		incoming bool
		attempts int
	}{
		{name: "may be cut", method: getMethod, attempts: 3},
		{name: "budget empty", method: getMethod, options: []surecall.Option{oneToken()}, spend: true, attempts: 1},
		{name: "not idempotent", method: placeMethod, attempts: 1},
		{name: "no retry", method: getMethod, options: []surecall.Option{surecall.WithoutRetry()}, attempts: 1},
		{name: "no attempt timeout", method: getMethod, options: []surecall.Option{surecall.WithoutAttemptTimeout()}, attempts: 1},
		{name: "chain stop", method: getMethod, incoming: true, attempts: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster, test.options...)
				if test.spend {
					failFirst(cluster, 1, codes.Unavailable)
					get(t, client)
				}
				before := sum(reached(cluster))
				time.AfterFunc(2*time.Second, holdAll(cluster))
				ctx := t.Context()
				if test.incoming {
					ctx = belowRetry(ctx)
				}
				began := time.Now()
				if _, err := unary(ctx, client, test.method); err != nil {
					t.Errorf("error %v: want a late success", err)
				}
				if took := time.Since(began); took != 2*time.Second {
					t.Errorf("took %v: want 2 s", took)
				}
				if n := sum(reached(cluster)) - before; n != test.attempts {
					t.Errorf("%d attempts: want %d", n, test.attempts)
				}
			})
		})
	}
}

// A method that takes a second, which is far above the timeout of its first attempts,
// always succeeds, and neither an instance nor the service is blamed for it.
func TestSlowMethod(t *testing.T) {
	for _, instances := range []int{1, 2, 3, 8} {
		for _, every := range []time.Duration{20 * time.Millisecond, 2 * time.Second} {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, instances), &log{}
				client := ready(t, cluster, events.option())
				teach(t, cluster, client, 0, time.Second)
				results := load(t, client, getMethod, every, 300*every)
				wantAll(t, results, 4*time.Second)
				wantAll(t, results[100:], time.Second)
				if ids := ejections(events); len(ids) > 0 {
					t.Errorf("%d instances, a call each %v: ejected %v: want nobody", instances, every, ids)
				}
				if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) > 0 {
					t.Errorf("%d instances, a call each %v: service breaker %+v", instances, every, changes)
				}
			})
		}
	}
}

// A method that becomes slow at once, by far more than its attempt timeout, is given
// time again: no call fails, and once that is learned none is repeated.
func TestMethodBecomesSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option())
		teach(t, cluster, client, 200, 2*time.Millisecond)
		teach(t, cluster, client, 0, 600*time.Millisecond)
		results := load(t, client, getMethod, 10*time.Millisecond, 60*time.Second)
		wantAll(t, results, 3*time.Second)
		before := sum(reached(cluster))
		late := load(t, client, getMethod, 10*time.Millisecond, 5*time.Second)
		wantAll(t, late, 600*time.Millisecond)
		if n := sum(reached(cluster)) - before; n != len(late) {
			t.Errorf("%d attempts for %d calls: want no retry once it is learned", n, len(late))
		}
	})
}

// The timeout is learned from calls that overlap, from many goroutines at once.
func TestAttemptTimeoutConcurrently(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		teach(t, cluster, client, 0, 100*time.Millisecond)
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				for range 20 {
					if _, err := unary(t.Context(), client, getMethod); err != nil {
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
		if calls := sum(reached(cluster)); calls != 1000 {
			t.Errorf("%d attempts for 1000 calls of 100 ms: want none repeated", calls)
		}
	})
}
