package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// A client that is closed between the two steps of accepting drops, and sends nothing.
func TestNotifyMeetsClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1))
		method := func(context.Context, *closing, ...grpc.CallOption) (*orders.Order, error) {
			t.Error("it was sent")
			return nil, nil
		}
		request := &closing{PlaceRequest: &orders.PlaceRequest{Item: "tea"}, close: func() { _ = client.Close() }}
		if err := surecall.Notify(t.Context(), client, method, request); status.Code(err) != codes.Canceled {
			t.Errorf("%v, want CANCELED", err)
		}
		wantCounts(t, client, surecall.NotificationCounts{Dropped: 1})
	})
}

// 64 callers, and a client that is closed meanwhile: each notification is counted once,
// and what counts as sent has arrived.
func TestNotifyInParallel(t *testing.T) {
	for name, whileOpen := range map[string]bool{"until flushed": true, "until closed": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ledger, cluster := newLedger(t, 3)
				client := ready(t, cluster, surecall.WithNotifications(surecall.NotifyPolicy{MaxPending: 100, MaxInFlight: 8}))
				var accepted, refused atomic.Uint64
				var callers sync.WaitGroup
				for n := range 64 {
					callers.Go(func() {
						for k := range 10 {
							if place(t.Context(), client, fmt.Sprint(n, " ", k)) == nil {
								accepted.Add(1)
							} else {
								refused.Add(1)
							}
							advance(time.Millisecond)
						}
					})
				}
				if !whileOpen {
					advance(5 * time.Millisecond)
					_ = client.Close()
				}
				callers.Wait()
				flush(t, client)
				c := client.Notifications()
				if c.Pending != 0 || c.Sent+c.Failed+c.Dropped != 64*10 || c.Dropped < refused.Load() {
					t.Errorf("%+v of %d accepted and %d refused: want each counted once", c, accepted.Load(), refused.Load())
				}
				placed, _ := ledger.read()
				if uint64(len(placed)) < c.Sent || len(slices.Compact(placed)) != len(placed) || whileOpen && uint64(len(placed)) != accepted.Load() {
					t.Errorf("%d have arrived of %d accepted: %+v", len(placed), accepted.Load(), c)
				}
			})
		})
	}
}

// Nothing runs while nothing is pending.
func TestNotifyIdles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		get(t, client)
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 100 {
			if err := place(t.Context(), client, "tea"); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, client)
		synctest.Wait()
		if after := runtime.NumGoroutine(); after >= before+surecall.DefaultNotifyInFlight {
			t.Errorf("%d goroutines, %d before", after, before)
		}
	})
}

// A flush that does not end in time says how many are pending.
func TestFlushEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		release := holdAll(cluster)
		for range 2 {
			if err := place(t.Context(), client, "tea"); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := client.Flush(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), `2 notifications of "orders"`) {
			t.Errorf("Flush: %v, want its deadline, and 2 that are pending", err)
		}
		release()
		flush(t, client)
	})
}

// A running client takes other bounds; the callers' own slice of options is theirs.
func TestNotifyUpdate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithNotifications(surecall.NotifyPolicy{MaxInFlight: 2}))
		for _, i := range cluster.Instances() {
			i.Delay(time.Second)
		}
		finished := 0 // one at a time
		opts := []grpc.CallOption{grpc.OnFinish(func(error) { finished++ })}
		for n := range 5 {
			var of []grpc.CallOption
			if n > 1 {
				of = opts
			}
			err := surecall.Notify(t.Context(), client, orders.NewOrdersClient(client).Place, &orders.PlaceRequest{}, of...)
			if err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // two are in flight
		opts[0] = grpc.OnFinish(func(error) { t.Error("an option of after the notification") })
		if err := client.Update(surecall.WithNotifications(surecall.NotifyPolicy{MaxPending: 5, MaxInFlight: 1})); err != nil {
			t.Fatal(err)
		}
		if err := place(t.Context(), client, "tea"); !errors.Is(err, surecall.ErrNotifyFull) {
			t.Errorf("one more: %v, want ErrNotifyFull", err)
		}
		began := time.Now()
		flush(t, client)
		if took := time.Since(began); took != 4*time.Second || finished != 3 {
			t.Errorf("%d finished in %v, want two at once and 3 one after the other", finished, took)
		}
		wantCounts(t, client, surecall.NotificationCounts{Sent: 5, Dropped: 1})
	})
}

// What cannot be meant is an error.
func TestNotifyErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := surecalltest.NewCluster(t, 1).Client()
		var trace surecall.CallTrace
		var p peer.Peer
		var md metadata.MD
		for _, o := range []grpc.CallOption{surecall.Trace(&trace), grpc.Peer(&p), grpc.Header(&md), grpc.Trailer(&md)} {
			err := surecall.Notify(t.Context(), client, orders.NewOrdersClient(client).Get, &orders.GetRequest{}, o)
			if err == nil || !strings.Contains(err.Error(), "fills in a variable") {
				t.Errorf("%T: %v, want an error", o, err)
			}
		}
		wantCounts(t, client, surecall.NotificationCounts{})
		err := client.Update(surecall.WithNotifications(surecall.NotifyPolicy{MaxPending: -1, MaxBytes: -2, MaxInFlight: -3}))
		for _, want := range []string{"MaxPending -1: want 0 (means 1024)", "MaxBytes -2", "MaxInFlight -3"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		}
	})
}
