package surecall_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// crowd is calls that are under way until they are let go, in a bubble.
type crowd struct {
	t       *testing.T
	cluster *surecalltest.Cluster
	client  *surecall.Client
	calls   sync.WaitGroup
	release func()

	mu     sync.Mutex
	errors []error // of those that have ended
}

func newCrowd(t *testing.T, cluster *surecalltest.Cluster, client *surecall.Client) *crowd {
	c := &crowd{t: t, cluster: cluster, client: client, release: holdAll(cluster)}
	t.Cleanup(c.release)
	return c
}

// add begins n calls. It returns how many of them have not ended a millisecond later.
func (c *crowd) add(ctx context.Context, n int, method string, options ...grpc.CallOption) (stay int) {
	before := len(c.ended())
	for range n {
		c.calls.Go(func() {
			_, err := unary(ctx, c.client, method, options...)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errors = append(c.errors, err)
		})
	}
	advance(time.Millisecond)
	return n - (len(c.ended()) - before)
}

func (c *crowd) ended() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errors
}

// disperse lets all calls go, which must succeed, and those to come pass.
func (c *crowd) disperse() {
	c.t.Helper()
	before := len(c.ended())
	c.release()
	c.calls.Wait()
	for _, err := range c.ended()[before:] {
		if err != nil {
			c.t.Errorf("a call that was under way: %v", err)
		}
	}
	for _, i := range c.cluster.Instances() {
		i.Fail(codes.OK)
	}
}

// wantRejection fails the test unless err is a rejection of that reason and code whose
// message has all of want in it.
func wantRejection(t *testing.T, err, reason error, code codes.Code, want ...string) *surecall.Rejection {
	t.Helper()
	var r *surecall.Rejection
	if !errors.As(err, &r) || !errors.Is(err, reason) || status.Code(err) != code {
		t.Errorf("error %v: want a rejection, %v, with code %v", err, reason, code)
		return &surecall.Rejection{}
	}
	for _, want := range want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q in it", err, want)
		}
	}
	return r
}

// A limit of the client bounds the attempts under way, one of a pattern those of its
// methods; a call that passes one of them and not the other holds no slot.
func TestConcurrencyLimits(t *testing.T) {
	two := surecall.ForMethod("/orders.v1.Orders/Get*", surecall.WithConcurrency(limit.Concurrency{Limit: 2}))
	three := surecall.WithConcurrency(limit.Concurrency{Limit: 3})
	for _, test := range []struct {
		name        string
		options     []surecall.Option
		gets, after int // of five calls of Get, and then of five of Place, so many find room
	}{
		{"client", []surecall.Option{three}, 3, 0},
		{"pattern", []surecall.Option{two}, 2, 5},
		{"both", []surecall.Option{three, two}, 2, 1},
		{"only the pattern", []surecall.Option{surecall.WithoutConcurrencyLimit(), two}, 2, 5},
		{"none", []surecall.Option{surecall.WithoutConcurrencyLimit()}, 5, 5},
		{"not of the pattern", []surecall.Option{three, surecall.ForMethod(getMethod, surecall.WithoutConcurrencyLimit())}, 5, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster, append(test.options, surecall.WithoutAttemptTimeout())...)
				for range 2 { // the slots of the first round are there in the second
					c := newCrowd(t, cluster, client)
					if n := c.add(t.Context(), 5, getMethod); n != test.gets {
						t.Errorf("%d of 5 calls of Get found room: want %d", n, test.gets)
					}
					if n := c.add(t.Context(), 5, placeMethod); n != test.after {
						t.Errorf("%d of 5 calls of Place found room: want %d", n, test.after)
					}
					for _, err := range c.ended() {
						r := wantRejection(t, err, surecall.ErrConcurrency, codes.ResourceExhausted,
							`surecall: concurrency limit of "orders", /orders.v1.Orders/`, ": limit: concurrency limit reached")
						if !errors.Is(err, limit.ErrLimit) || !errors.Is(err, limit.ErrExceeded) || r.RetryAfter != 0 {
							t.Errorf("error %#v: want the limit's own within", err)
						}
					}
					c.disperse()
				}
				for n, i := range client.Instances() {
					if i.State != event.Eligible || i.Breaker.Failures != 0 || i.InFlight != 0 {
						t.Errorf("instance %d: %+v: want nobody blamed", n, i)
					}
				}
			})
		})
	}
}

// A call that the narrow limit holds back has no slot of the wide one, whether it waits or
// is refused, and one that the wide limit refuses gives back that of the narrow one.
func TestNarrowLimitFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(), surecall.WithConcurrency(limit.Concurrency{Limit: 3}),
			surecall.ForMethod(getMethod, surecall.WithConcurrency(limit.Concurrency{Limit: 2, Queue: limit.Queue{MaxWaiting: 10, Interval: time.Second}})))
		c := newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 4, getMethod); n != 4 || cluster.Calls() != 2 {
			t.Errorf("%d stay, %d at the servers: want two calls under way, and two that wait", n, cluster.Calls())
		}
		if n := c.add(t.Context(), 1, placeMethod); n != 1 || cluster.Calls() != 3 {
			t.Errorf("%d calls at the servers: want those who wait to hold no slot of the client", cluster.Calls())
		}
		c.disperse()

		c = newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 3, placeMethod); n != 3 {
			t.Fatalf("%d of 3 found room", n)
		}
		if n := c.add(t.Context(), 5, getMethod); n != 0 {
			t.Errorf("%d of 5 found room: want the client's limit reached", n)
		}
		c.disperse()
		c = newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 2, getMethod); n != 2 {
			t.Errorf("%d of 2 found room: want the slots that were given back", n)
		}
		c.disperse()
	})
}

// The longest pattern that says something is the one that counts, beside the client's.
func TestLimitOfTheLongestPattern(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(),
			surecall.ForMethod("/orders.v1.Orders/*", surecall.WithConcurrency(limit.Concurrency{Limit: 2})),
			surecall.ForMethod(getMethod, surecall.WithConcurrency(limit.Concurrency{Limit: 1})),
			surecall.ForMethod(getMethod, surecall.WithConcurrency(limit.Concurrency{Limit: 3})))
		c := newCrowd(t, cluster, client)
		for _, step := range []struct {
			method string
			room   int
		}{{getMethod, 3}, {placeMethod, 2}, {cancelMethod, 0}} {
			if n := c.add(t.Context(), 5, step.method); n != step.room {
				t.Errorf("%s: %d found room: want %d", step.method, n, step.room)
			}
		}
		c.disperse()
	})
}

// An Update leaves a limit alone whose policy stays, or changes in its number only: the
// slots that are taken stay taken.
func TestUpdateOfLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		pattern := func(n int) surecall.LiveOption {
			return surecall.ForMethod("/orders.v1.Orders/Get*", surecall.WithConcurrency(limit.Concurrency{Limit: n}))
		}
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(), surecall.WithConcurrency(limit.Concurrency{Limit: 4}), pattern(2))
		update := func(o ...surecall.LiveOption) {
			t.Helper()
			if err := client.Update(o...); err != nil {
				t.Fatal(err)
			}
		}
		c := newCrowd(t, cluster, client)
		room := func(method string, want int) {
			t.Helper()
			if n := c.add(t.Context(), 5, method); n != want {
				t.Errorf("%s: %d found room: want %d", method, n, want)
			}
		}
		room(getMethod, 2)
		update(surecall.WithCallDeadline(time.Hour), pattern(2), surecall.WithConcurrency(limit.Concurrency{Limit: 4}))
		room(getMethod, 0)
		room(placeMethod, 2)
		update(pattern(3), surecall.WithConcurrency(limit.Concurrency{Limit: 5}))
		room(getMethod, 1)
		room(placeMethod, 0)
		c.disperse()
		c = newCrowd(t, cluster, client)
		room(getMethod, 3)
		update(surecall.WithoutHedge())
		room(getMethod, 0)
		room(placeMethod, 2)
		update(surecall.WithoutConcurrencyLimit(), pattern(4))
		room(getMethod, 1)
		room(placeMethod, 5)
		c.disperse()
		c = newCrowd(t, cluster, client)
		room(getMethod, 4)
		c.disperse()
	})
}

// The default limit is 1,024, or 100 for each known instance if that is more.
func TestDefaultLimit(t *testing.T) {
	for _, test := range []struct{ instances, limit int }{{1, 1024}, {11, 1100}} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, test.instances), &log{}
			client := ready(t, cluster, events.option(), surecall.WithoutAttemptTimeout())
			c := newCrowd(t, cluster, client)
			ctx := surecall.WithPriority(t.Context(), limit.Critical)
			if n := c.add(ctx, test.limit+50, placeMethod); n != test.limit {
				t.Errorf("%d instances: %d calls found room: want %d", test.instances, n, test.limit)
			}
			c.disperse()
			near := eventsOf[event.LimitNear](events)
			if len(near) != 1 || near[0].Limit != test.limit || near[0].Service != "orders" || near[0].Scope != "client" {
				t.Errorf("%d instances: events %+v: want one, of the client", test.instances, near)
			}
		})
	}
}

// That a limit is near is told once, until use has fallen below half, and by its scope.
func TestLimitNear(t *testing.T) {
	ten := limit.Concurrency{Limit: 10}
	for scope, option := range map[string]surecall.Option{
		"client":              surecall.WithConcurrency(ten),
		"/orders.v1.Orders/*": surecall.ForMethod("/orders.v1.Orders/*", surecall.WithConcurrency(ten)),
		"orders-1":            surecall.WithInstanceConcurrency(ten),
	} {
		t.Run(scope, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, 1), &log{}
				client := ready(t, cluster, option, surecall.WithoutAttemptTimeout())
				if err := client.Update(events.option()); err != nil { // the handler may come later than the limit
					t.Fatal(err)
				}
				for round := range 2 {
					c := newCrowd(t, cluster, client)
					c.add(t.Context(), 7, placeMethod)
					if n := len(eventsOf[event.LimitNear](events)); n != round {
						t.Errorf("at 7 of 10, round %d: %d events", round, n)
					}
					c.add(t.Context(), 20, placeMethod)
					near := eventsOf[event.LimitNear](events)
					if want := (event.LimitNear{Service: "orders", Scope: scope, InFlight: 8, Limit: 10}); len(near) != round+1 || near[round] != want {
						t.Errorf("events %+v: want %d, each %+v", near, round+1, want)
					}
					c.disperse()
				}
			})
		})
	}
}
