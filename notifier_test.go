package surecall_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// A stub that ends its goroutine, as a test's FailNow does, takes no sender with it: what it
// was to send has failed, and the others are sent.
func TestNotifySurvivesGoexit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told log
		client := ready(t, surecalltest.NewCluster(t, 1), told.option(), surecall.WithNotifications(surecall.NotifyPolicy{MaxInFlight: 2}))
		for range 5 {
			err := surecall.Notify(t.Context(), client, func(context.Context, *orders.PlaceRequest, ...grpc.CallOption) (*orders.Order, error) {
				runtime.Goexit()
				return nil, nil
			}, &orders.PlaceRequest{})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := place(t.Context(), client, "tea"); err != nil {
			t.Fatal(err)
		}
		flush(t, client)
		wantCounts(t, client, surecall.NotificationCounts{Failed: 5, Sent: 1})
		if n := len(eventsOf[event.NotificationDropped](&told)); n != 5 {
			t.Errorf("told of %d, want 5", n)
		}
	})
}

// Where calls have no deadline, notifications still have one: nobody would end them.
func TestNotifyHasADeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told log
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, told.option(), surecall.WithoutCallDeadline(), surecall.WithoutAttemptTimeout(), surecall.WithoutRetry())
		defer holdAll(cluster)()
		began := time.Now()
		for range surecall.DefaultNotifyInFlight + 1 {
			if err := place(t.Context(), client, "tea"); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, client)
		if took := time.Since(began); took != 2*surecall.DefaultCallDeadline {
			t.Errorf("ended after %v, want twice %v", took, surecall.DefaultCallDeadline)
		}
		for _, d := range eventsOf[event.NotificationDropped](&told) {
			if status.Code(d.Err) != codes.DeadlineExceeded {
				t.Errorf("told of %v, want its deadline", d.Err)
			}
		}
	})
}
