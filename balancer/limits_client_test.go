package balancer_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// TestInstanceLimitHolds: 64 callers at three slow instances. None ever has more calls than
// its limit; who finds no room is refused at once, also if it would wait for ready.
func TestInstanceLimitHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cluster.Client(surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 8}))
		warm(t, client)
		for _, i := range cluster.Instances() {
			i.Delay(50 * time.Millisecond)
		}
		var mu sync.Mutex
		served, refused := 0, 0
		var callers sync.WaitGroup
		for n := range 64 {
			callers.Go(func() {
				for range 20 {
					began := time.Now()
					_, err := get(t.Context(), client, grpc.WaitForReady(n%2 == 0))
					took := time.Since(began)
					mu.Lock()
					var r *surecall.Rejection
					switch {
					case err == nil:
						served++
					case !errors.As(err, &r) || r.Full == 0 || status.Code(err) != codes.ResourceExhausted || took > time.Millisecond:
						t.Errorf("after %v: %v", took, err)
					default:
						refused++
					}
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		callers.Wait()
		for _, i := range cluster.Instances() {
			if i.Peak() > 8 {
				t.Errorf("%s had %d calls at a time, its limit is 8", i.ID(), i.Peak())
			}
		}
		if served == 0 || refused == 0 {
			t.Errorf("%d served, %d refused", served, refused)
		}
		for _, i := range client.Instances() {
			if i.InFlight != 0 || i.Limit != 8 || i.State != event.Eligible {
				t.Errorf("in the end: %+v", i)
			}
		}
	})
}

// TestExhaustedGetsLess: an instance that answers RESOURCE_EXHAUSTED is called less and
// less, never ejected, and called as before when it has room again.
func TestExhaustedGetsLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cluster.Client()
		warm(t, client)
		run := func(d time.Duration) (first int) {
			before := cluster.Instance(0).Calls()
			for began := time.Now(); time.Since(began) < d; time.Sleep(10 * time.Millisecond) {
				_, _ = get(t.Context(), client)
			}
			return cluster.Instance(0).Calls() - before
		}
		cluster.Instance(0).Fail(codes.ResourceExhausted)
		run(2 * time.Second)
		if got := run(4 * time.Second); got > 400/8 || got == 0 {
			t.Errorf("it got %d of 400 calls while it had too much to do", got)
		}
		if s := states(client)["orders-1"]; s != event.Eligible {
			t.Errorf("it is %s: it only has too much to do", s)
		}
		cluster.Instance(0).Fail(codes.OK)
		run(15 * time.Second)
		if got := run(4 * time.Second); got < 400/3 {
			t.Errorf("it got %d of 400 calls when it had room again", got)
		}
	})
}
