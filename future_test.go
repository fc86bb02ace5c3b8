package surecall_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// Two calls that take a second each are over in one, and 64 wait for each of them.
func TestGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		for _, i := range cluster.Instances() {
			i.Delay(time.Second)
		}
		stub := orders.NewOrdersClient(client)
		began := time.Now()
		a := surecall.Go(t.Context(), stub.Place, &orders.PlaceRequest{Item: "tea"})
		var own surecall.CallTrace
		b := surecall.Go(t.Context(), stub.Place, &orders.PlaceRequest{Item: "milk"}, surecall.Trace(&own))
		if trace := a.Trace(); trace.Took != 0 || !trace.Began.IsZero() {
			t.Errorf("trace before the end: %+v, want an empty one", trace)
		}
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				<-a.Done()
				for want, f := range map[string]*surecall.Future[*orders.Order]{"tea": a, "milk": b} {
					if order, err := f.Wait(t.Context()); order.GetItem() != want || err != nil {
						t.Errorf("%v, %v; want %s", order, err, want)
					}
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
		if trace := b.Trace(); trace.Method != placeMethod || trace.Took != time.Second || len(trace.Attempts) != 1 || trace.Attempts[0].Instance == "" {
			t.Errorf("trace: %+v, want one attempt of a second", trace)
		}
		if own.Method != placeMethod || own.Took != time.Second {
			t.Errorf("the caller's own trace: %+v", own)
		}
	})
}

// The end of one who waits is not the end of the call; the end of the call's own context
// is. What was there first is what counts.
func TestGoEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		release := holdAll(cluster)
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		f := surecall.Go(ctx, orders.NewOrdersClient(client).Place, &orders.PlaceRequest{})
		impatient, enough := context.WithTimeout(t.Context(), time.Second)
		defer enough()
		order, err := f.Wait(impatient)
		if order != nil || !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "the call goes on") {
			t.Errorf("%v, %v; want nothing, and that the call goes on", order, err)
		}
		select {
		case <-f.Done():
			t.Error("the call ended with one who waited for it")
		default:
		}
		cancel()
		if _, err := f.Wait(t.Context()); status.Code(err) != codes.Canceled {
			t.Errorf("%v, want CANCELED", err)
		}
		for range 20 {
			if _, err := f.Wait(ctx); !strings.HasPrefix(err.Error(), "rpc error") {
				t.Fatalf("a context that has ended: %v, want the error of the call that is over", err)
			}
		}
	})
}

// Nobody has to wait.
func TestGoUnwaited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		stub := orders.NewOrdersClient(ready(t, cluster))
		if _, err := surecall.Go(t.Context(), stub.Place, &orders.PlaceRequest{}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := runtime.NumGoroutine()
		for range 64 {
			surecall.Go(t.Context(), stub.Place, &orders.PlaceRequest{})
		}
		synctest.Wait()
		if after := runtime.NumGoroutine(); after >= before+64 {
			t.Errorf("%d goroutines, %d before", after, before)
		}
		if n := sum(reached(cluster)); n != 65 {
			t.Errorf("%d calls, want 65", n)
		}
	})
}

// A method that ends its goroutine, as FailNow in a test's stub does, is not a success.
func TestGoexit(t *testing.T) {
	f := surecall.Go(t.Context(), func(context.Context, *orders.GetRequest, ...grpc.CallOption) (*orders.Order, error) {
		runtime.Goexit()
		return nil, nil
	}, nil)
	if _, err := f.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "did not return") {
		t.Errorf("%v, want that it did not return", err)
	}
}
