package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// A stream whose caller leaves it, and never asks for its end, is a call like any other.
func TestStreamsThatAreLeftAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			s, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "1"})
			if err == nil {
				_, err = s.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "1"}); err != nil {
			t.Fatal(err)
		}
		advance(2 * time.Second)
		if m := shown(t, client, watchMethod); m.Calls["CANCELLED"] != 5 || m.Calls["DEADLINE_EXCEEDED"] != 1 || m.Attempts != 6 {
			t.Errorf("calls %v, %d attempts: want 5 cancelled and one too late, of one attempt each", m.Calls, m.Attempts)
		}
	})
}

// An attempt is one on an instance: what a limit refuses is none, and no retry either.
func TestRefusedAttemptsAreNotCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		var gone atomic.Bool
		client := ready(t, cluster, killedMeanwhile(cluster, &gone), surecall.WithoutAttemptTimeout(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
			surecall.WithConcurrency(limit.Concurrency{Limit: 1}))
		c := newCrowd(t, cluster, client)
		critical := surecall.WithPriority(t.Context(), limit.Critical)
		if stay := c.add(critical, 4, placeMethod); stay != 1 {
			t.Fatalf("%d stay: want 1", stay)
		}
		c.disperse()
		if m := shown(t, client, placeMethod); m.Attempts != 1 || m.Rejected["concurrency limit"] != 3 || m.Waits != 0 {
			t.Errorf("%+v: want one attempt, 3 rejected, and none that waited", m)
		}

		// The only instance that is left fails, and is gone when the call would be made again.
		cluster.Instance(1).Kill()
		synctest.Wait()
		failAll(cluster, codes.Unavailable)
		gone.Store(true)
		_, err := unary(critical, client, getMethod)
		m := shown(t, client, getMethod)
		if e := surecall.Explain(err); e == nil || len(e.Call.Attempts) != 2 || m.Attempts != 1 || len(m.Retries) > 0 {
			t.Errorf("%v: %d attempts, retries %v: want one that was sent, and none", e, m.Attempts, m.Retries)
		}
	})
}

// A call that waits for its turn under a rate has waited, also if it gives up.
func TestWaitsForARate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: 1, Wait: true, MaxWait: 4 * time.Second}))
		get(t, client)
		get(t, client)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		if _, err := unary(ctx, client, getMethod); status.Code(err) != codes.Canceled {
			t.Errorf("%v: want that it was cancelled", err)
		}
		if m := shown(t, client, getMethod); m.Waits != 2 || math.Abs(m.Waited-1.5) > 1e-6 {
			t.Errorf("%d waits of %v s: want 2 of 1.5 s together", m.Waits, m.Waited)
		}
	})
}

// A stream that waits for a slot has waited, whether anyone asked or not.
func TestWaitsOfStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithStreamConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 1}}))
		watch := func(ctx context.Context) error {
			s, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "1"})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := watch(ctx); err != nil {
			t.Fatal(err)
		}
		err := watch(surecall.WithPriority(t.Context(), limit.Critical))
		m, e := shown(t, client, watchMethod), surecall.Explain(err)
		if m.Waits != 1 || m.Waited != 0.1 || e == nil || len(e.Call.Attempts) != 1 || e.Call.Attempts[0].Queued != 100*time.Millisecond {
			t.Errorf("%d waits of %v s, %+v: want one of 100 ms", m.Waits, m.Waited, e)
		}
	})
}

// Nothing that was counted is lost while policies change, of methods that are new neither.
func TestUpdatesLoseNoCounts(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 1)
	client := cluster.Client(surecall.WithoutServiceBreaker())
	const names, times = 300, 3
	done := make(chan struct{})
	var updates, calls sync.WaitGroup
	updates.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-done:
				return
			default:
				if err := client.Update(surecall.WithCallDeadline(time.Duration(n) * time.Hour)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range times {
		calls.Go(func() {
			for n := range names {
				_ = client.Invoke(t.Context(), fmt.Sprintf("/made.Up/M%d", n), &orders.GetRequest{}, &orders.Order{}, surecall.ForCall(nil))
			}
		})
	}
	calls.Wait()
	close(done)
	updates.Wait()
	for n := range names {
		name := fmt.Sprintf("/made.Up/M%d", n)
		_ = client.Invoke(t.Context(), name, &orders.GetRequest{}, &orders.Order{}, surecall.ForCall(nil))
		if m := shown(t, client, name); m.Calls["INVALID_ARGUMENT"] != times+1 {
			t.Fatalf("%s: %v: want %d calls", name, m.Calls, times+1)
		}
	}
}

// A panic in what the caller gave us costs no slot, and the call's observer hears of its end.
func TestPanicsLoseNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var w watcher
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithObserver(&w), surecall.WithConcurrency(limit.Concurrency{Limit: 2}))
		for range 3 {
			w.take()
			func() {
				defer func() { _ = recover() }()
				_ = client.Invoke(t.Context(), getMethod, (*explosive)(nil), &orders.Order{})
				t.Error("no panic")
			}()
			if told := w.take(); len(told) != 4 || told[3] != `call ends Unknown after 1 attempts, ""` {
				t.Errorf("told %q: want the ends of the attempt and of the call", told)
			}
		}
		get(t, client)
		if s := client.Status(); s.Limits[0].InFlight != 0 {
			t.Errorf("%d slots are taken: want none", s.Limits[0].InFlight)
		}
		if m := shown(t, client, getMethod); m.Calls["UNKNOWN"] != 3 || m.Calls["OK"] != 1 {
			t.Errorf("%v: want 3 that did not return, and one that did", m.Calls)
		}
	})
}

// explosive is a message that panics when it is encoded.
type explosive struct{ orders.GetRequest }

func (*explosive) Marshal() ([]byte, error) { panic("boom") }

// killedMeanwhile kills all instances once an attempt has failed, while its call waits to
// make another, if gone says so.
func killedMeanwhile(cluster *surecalltest.Cluster, gone *atomic.Bool) surecall.Option {
	return surecall.WithEvents(func(e event.Event) {
		if _, retried := e.(event.AttemptRetried); retried && gone.Load() {
			killAll(cluster)
		}
	})
}

// A stream that failed, and for whose next attempt there is no instance, has told of the
// ends of both.
func TestObserverOfStreamsRefusedLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var (
			w    watcher
			gone atomic.Bool
		)
		gone.Store(true)
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithObserver(&w), surecall.WithoutServiceBreaker(), surecall.WithIdempotent(watchMethod), killedMeanwhile(cluster, &gone))
		failAll(cluster, codes.Unavailable)
		s, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{Id: "1"})
		for err == nil {
			_, err = s.Recv()
		}
		want := []string{"call orders" + watchMethod, "attempt 1 hedge false", "attempt 1 ends Unavailable, of context 1",
			"attempt 2 hedge false", "attempt 2 ends Unavailable, of context 2", `call ends Unavailable after 2 attempts, ""`}
		if told := w.take(); !slices.Equal(told, want) || errors.Is(err, surecall.ErrNoInstance) {
			t.Errorf("told %q, %v: want %q, and the error of what was sent", told, err, want)
		}
		if m := shown(t, client, watchMethod); m.Attempts != 1 || len(m.Retries) > 0 {
			t.Errorf("%+v: want one attempt, which was sent", m)
		}
	})
}
