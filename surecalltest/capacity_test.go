package surecalltest_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// Calls are worked on as many at a time as there are workers, and wait in order.
func TestCapacityIsAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		instance, client := cluster.Instance(0), direct(t, cluster, 0)
		instance.Capacity(surecalltest.Capacity{Workers: 2, ServiceTime: 10 * time.Millisecond})
		var calls sync.WaitGroup
		start := time.Now()
		for n := range 7 {
			calls.Go(func() {
				if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil {
					t.Error(err)
				}
				// Two by two, each pair 10 ms after the one before; the second of a pair came later.
				want := time.Duration(n/2+1)*10*time.Millisecond + time.Duration(n%2)*time.Microsecond
				if took := time.Since(start); took != want {
					t.Errorf("call %d was answered at %v: want %v", n, took, want)
				}
			})
			time.Sleep(time.Microsecond)
		}
		synctest.Wait()
		if n := instance.InFlight(); n != 7 {
			t.Errorf("%d in flight: want all", n)
		}
		calls.Wait()
		if instance.InFlight() != 0 || instance.Peak() != 7 || instance.CallsOf("/orders.v1.Orders/Get") != 7 || cluster.Calls() != 7 {
			t.Errorf("%d in flight, at most %d, %d of Get, %d in all: want 0, and 7", instance.InFlight(), instance.Peak(),
				instance.CallsOf("/orders.v1.Orders/Get"), cluster.Calls())
		}
	})
}

// A unary call keeps its worker as long as it takes, a stream while it opens.
func TestStreamsFreeTheirWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		instance, client := cluster.Instance(0), direct(t, cluster, 0)
		instance.Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: 10 * time.Millisecond})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		for range 3 {
			stream, err := client.Watch(ctx, &orders.GetRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 30*time.Millisecond {
			t.Errorf("three streams opened after %v: want 30 ms", took)
		}
		instance.Delay(time.Second)
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() { _, _ = client.Get(t.Context(), &orders.GetRequest{}) })
		}
		calls.Wait()
		if took := time.Since(began); took != 2050*time.Millisecond {
			t.Errorf("two slow calls took until %v: want one after the other", took)
		}
	})
}

// A server above its bound says so at once, and when to come back.
func TestCapacitySheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := direct(t, cluster, 0)
		cluster.Instance(0).Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: time.Second, Bound: 3, Pushback: 250 * time.Millisecond})
		var calls sync.WaitGroup
		var answered, shed atomic.Int64
		for range 10 {
			calls.Go(func() {
				began := time.Now()
				var trailer metadata.MD
				_, err := client.Get(t.Context(), &orders.GetRequest{}, grpc.Trailer(&trailer))
				switch pushback := trailer.Get("grpc-retry-pushback-ms"); {
				case err == nil:
					answered.Add(1)
				case status.Code(err) == codes.ResourceExhausted && time.Since(began) == 0 &&
					len(pushback) == 1 && pushback[0] == "250" && retryDelay(err) == 250*time.Millisecond:
					shed.Add(1)
				default:
					t.Errorf("%v after %v, pushback %v", err, time.Since(began), pushback)
				}
			})
		}
		calls.Wait()
		if answered.Load() != 3 || shed.Load() != 7 {
			t.Errorf("%d answered, %d shed: want 3 and 7", answered.Load(), shed.Load())
		}
	})
}

// retryDelay is what the details of an error say of when to retry.
func retryDelay(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// A caller that leaves gives its place to the next one, if the server looks.
func TestHeedsLeaving(t *testing.T) {
	for heeds, want := range map[bool]time.Duration{true: 1100 * time.Millisecond, false: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 1)
			client := direct(t, cluster, 0)
			cluster.Instance(0).Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: time.Second, HeedsLeaving: heeds})
			var calls sync.WaitGroup
			began := time.Now()
			for range 2 { // one that is worked on, and one that waits
				calls.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					if _, err := client.Get(ctx, &orders.GetRequest{}); status.Code(err) != codes.DeadlineExceeded {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil || time.Since(began) != want {
				t.Errorf("heeds leaving %v: %v after %v: want an answer after %v", heeds, err, time.Since(began), want)
			}
			calls.Wait()
		})
	}
}

// Three times what a server can do: without a bound it works for callers who have left, and
// hardly anybody gets an answer. With one it does what it can.
func TestOverloadCollapses(t *testing.T) {
	goodput := func(c surecalltest.Capacity) (perSecond int64) {
		synctest.Test(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 1)
			client := direct(t, cluster, 0)
			cluster.Instance(0).Capacity(c) // 200 calls per second
			var calls sync.WaitGroup
			var good atomic.Int64
			for n := range 3 * 600 {
				calls.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					if _, err := client.Get(ctx, &orders.GetRequest{}); err == nil && n >= 600 { // once it has settled
						good.Add(1)
					}
				})
				time.Sleep(time.Second / 600)
			}
			calls.Wait()
			perSecond = good.Load() / 2
		})
		return perSecond
	}
	c := surecalltest.Capacity{Workers: 2, ServiceTime: 10 * time.Millisecond}
	if n := goodput(c); n > 10 {
		t.Errorf("without a bound, %d good answers per second: want a collapse", n)
	}
	c.Bound = 10
	if n := goodput(c); n < 190 || n > 205 {
		t.Errorf("with a bound, %d good answers per second: want about 200", n)
	}
}
