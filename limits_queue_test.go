package surecall_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// Calls wait in our queue, in order, without blaming an instance: neither its breaker nor
// its latency nor an attempt timeout hears of the wait.
func TestQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const each = 30 * time.Millisecond
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: each + 10*time.Millisecond}),
			surecall.WithConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 3, Interval: time.Second}}))
		for _, i := range cluster.Instances() {
			i.Delay(each)
		}
		var calls sync.WaitGroup
		traces := make([]surecall.CallTrace, 5)
		errs := make([]error, 5)
		for n := range traces {
			calls.Go(func() { _, errs[n] = unary(t.Context(), client, getMethod, surecall.Trace(&traces[n])) })
			advance(time.Microsecond)
		}
		calls.Wait()
		for n, trace := range traces[:4] {
			if errs[n] != nil || len(trace.Attempts) != 1 {
				t.Fatalf("call %d: %v, %+v: want one attempt", n, errs[n], trace)
			}
			queued := trace.Attempts[0].Queued.Round(time.Millisecond)
			if want := time.Duration(n) * each; queued != want || trace.Attempts[0].Took.Round(time.Millisecond) != each {
				t.Errorf("call %d: waited %v, took %v: want %v and %v", n, queued, trace.Attempts[0].Took, want, each)
			}
		}
		wantRejection(t, errs[4], surecall.ErrConcurrency, codes.ResourceExhausted, "limit: queue full")
		if !errors.Is(errs[4], limit.ErrQueueFull) {
			t.Errorf("error %v: want limit.ErrQueueFull", errs[4])
		}
		for n, i := range client.Instances() {
			if i.Latency > each+time.Millisecond || i.State != event.Eligible || i.Breaker.Failures > 0 {
				t.Errorf("instance %d: %+v: want it not to have heard of the wait", n, i)
			}
		}
		if r := eventsOf[event.AttemptRetried](events); len(r) > 0 {
			t.Errorf("retries %+v: want none", r)
		}
	})
}

// Who waits leaves at the end of its context, before its deadline if that cannot be met,
// and with the queue's own bound; the error names what it waited for. The slots are all
// there afterwards.
func TestQueueEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(),
			surecall.WithConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 10}}))
		c := newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 1, placeMethod); n != 1 {
			t.Fatal("no room")
		}
		for _, test := range []struct {
			name             string
			deadline, cancel time.Duration // 0: none
			took             time.Duration
			code             codes.Code
			is               error
			want             string
		}{
			{"bound", 0, 0, 100 * time.Millisecond, codes.ResourceExhausted, limit.ErrShed, `surecall: concurrency limit of "orders", /orders.v1.Orders/Place: limit: shed`},
			{"cancelled", 0, 20 * time.Millisecond, 20 * time.Millisecond, codes.Canceled, nil, "while it waited under a concurrency limit"},
			{"deadline", 40 * time.Millisecond, 0, 40 * time.Millisecond, codes.ResourceExhausted, limit.ErrNoTime, "limit: deadline cannot be met"},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			if test.deadline > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), test.deadline)
			}
			if test.cancel > 0 {
				time.AfterFunc(test.cancel, cancel)
			}
			began := time.Now()
			_, err := unary(ctx, client, placeMethod)
			cancel()
			if took := time.Since(began); took != test.took || status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v after %v: want %v, %q after %v", test.name, err, took, test.code, test.want, test.took)
			}
			if test.is == nil && errors.Is(err, surecall.ErrConcurrency) {
				t.Errorf("%s: %v: want no rejection: its caller has left", test.name, err)
			}
			if test.is != nil {
				if wantRejection(t, err, surecall.ErrConcurrency, test.code); !errors.Is(err, test.is) {
					t.Errorf("%s: %v: want %v", test.name, err, test.is)
				}
			}
		}
		if cluster.Calls() != 1 {
			t.Errorf("%d calls reached a server: want the first", cluster.Calls())
		}
		c.disperse()
		get(t, client)
	})
}

// Sheddable calls go first, critical ones last, under the limits of the client, of a
// pattern, and of an instance.
func TestPrioritiesUnderLimits(t *testing.T) {
	twenty := limit.Concurrency{Limit: 20}
	for name, option := range map[string]surecall.Option{
		"client":   surecall.WithConcurrency(twenty),
		"pattern":  surecall.ForMethod("/orders.v1.Orders/*", surecall.WithConcurrency(twenty)),
		"instance": surecall.WithInstanceConcurrency(twenty),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				client := ready(t, cluster, option, surecall.WithoutAttemptTimeout())
				c := newCrowd(t, cluster, client)
				for _, step := range []struct {
					priority limit.Priority
					room     int
				}{{limit.Sheddable, 16}, {limit.Normal, 3}, {limit.Critical, 1}} {
					ctx := surecall.WithPriority(t.Context(), step.priority)
					if n := c.add(ctx, 30, placeMethod); n != step.room {
						t.Errorf("%d %v calls found room: want %d", n, step.priority, step.room)
					}
				}
				for _, err := range c.ended() {
					wantRejection(t, err, surecall.ErrConcurrency, codes.ResourceExhausted)
				}
				c.disperse()
			})
		})
	}
}
