package surecall_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// ledger is an orders service that writes down what is placed.
type ledger struct {
	orders.UnimplementedOrdersServer
	mu     sync.Mutex
	placed []string
	of     []string // the customers, from the metadata
}

func newLedger(t testing.TB, n int) (*ledger, *surecalltest.Cluster) {
	l := &ledger{}
	return l, surecalltest.NewClusterOf(t, n, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
		orders.RegisterOrdersServer(s, l)
	})
}

func (l *ledger) Place(ctx context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.placed = append(l.placed, r.GetItem())
	l.of = append(l.of, metadata.ValueFromIncomingContext(ctx, "customer")...)
	return &orders.Order{}, nil
}

func (l *ledger) read() (placed, of []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.placed)), slices.Clone(l.of)
}

// place notifies of one placed item.
func place(ctx context.Context, client *surecall.Client, item string) error {
	return surecall.Notify(ctx, client, orders.NewOrdersClient(client).Place, &orders.PlaceRequest{Item: item})
}

// flush waits until nothing is pending.
func flush(t *testing.T, client *surecall.Client) {
	t.Helper()
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantCounts(t *testing.T, client *surecall.Client, want surecall.NotificationCounts) {
	t.Helper()
	if got := client.Notifications(); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}

// The caller has its request back at once, and its context may end: what it carries goes
// along.
func TestNotify(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ledger, cluster := newLedger(t, 2)
		client := ready(t, cluster)
		flush(t, client) // nothing is pending
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "customer", "ann"))
		request := &orders.PlaceRequest{}
		for _, item := range []string{"coffee", "milk", "tea"} {
			request.Item = item
			if err := surecall.Notify(ctx, client, orders.NewOrdersClient(client).Place, request); err != nil {
				t.Fatal(err)
			}
		}
		request.Item = "cake"
		cancel()
		flush(t, client)
		placed, of := ledger.read()
		if want := []string{"coffee", "milk", "tea"}; !slices.Equal(placed, want) || len(of) != 3 || of[0] != "ann" {
			t.Errorf("placed %q by %q, want %q, all by ann", placed, of, want)
		}
		wantCounts(t, client, surecall.NotificationCounts{Sent: 3})
	})
}

// What finds no room is dropped: the caller is told, and the drop is counted and told.
func TestNotifyIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, test := range map[string]struct {
		policy   surecall.NotifyPolicy
		item     string
		accepted int
		says     string
	}{
		"in number": {surecall.NotifyPolicy{MaxPending: 5, MaxInFlight: 2}, "tea", 5, "5 are pending: want fewer than 5"},
		"in bytes":  {surecall.NotifyPolicy{MaxBytes: 3500, MaxInFlight: 2}, long, 3, "1003 bytes, beside 3009 that are pending: want at most 3500"},
		"too large": {surecall.NotifyPolicy{MaxBytes: 1002}, long, 0, "1003 bytes, beside 0 that are pending: want at most 1002"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var told log
				cluster := surecalltest.NewCluster(t, 2)
				client := ready(t, cluster, surecall.WithNotifications(test.policy), told.option())
				release := holdAll(cluster)
				for range test.accepted {
					if err := place(t.Context(), client, test.item); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if got, want := sum(reached(cluster)), min(2, test.accepted); got != want {
					t.Errorf("%d are in flight, want %d", got, want)
				}
				err := place(t.Context(), client, test.item)
				if !errors.Is(err, surecall.ErrNotifyFull) || status.Code(err) != codes.ResourceExhausted ||
					!strings.Contains(err.Error(), "orders.v1.PlaceRequest: "+test.says) {
					t.Errorf("one more: %v, want ErrNotifyFull that says %q", err, test.says)
				}
				wantCounts(t, client, surecall.NotificationCounts{Pending: test.accepted, Dropped: 1})
				if drops := eventsOf[event.NotificationDropped](&told); len(drops) != 1 || drops[0].Err.Error() != err.Error() || drops[0].Service != "orders" {
					t.Errorf("told of %v, want %v", drops, err)
				}
				release()
				flush(t, client)
				wantCounts(t, client, surecall.NotificationCounts{Sent: uint64(test.accepted), Dropped: 1})
				if test.accepted > 0 { // there is room again
					if err := place(t.Context(), client, test.item); err != nil {
						t.Error(err)
					}
					flush(t, client)
				}
			})
		})
	}
}

// A notification has the call deadline of its method, and not the caller's; its failure is
// told.
func TestNotifyFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told log
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, told.option())
		release := holdAll(cluster)
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := place(ctx, client, "tea"); err != nil {
			t.Fatal(err)
		}
		flush(t, client)
		if took := time.Since(began); took != surecall.DefaultCallDeadline {
			t.Errorf("ended after %v, want %v", took, surecall.DefaultCallDeadline)
		}
		wantCounts(t, client, surecall.NotificationCounts{Failed: 1})
		drops := eventsOf[event.NotificationDropped](&told)
		if len(drops) != 1 || drops[0].Method != placeMethod || status.Code(drops[0].Err) != codes.DeadlineExceeded {
			t.Errorf("told of %+v, want the deadline of %s", drops, placeMethod)
		}
	})
}

// It is a call like any other: an attempt that was never executed is repeated.
func TestNotifyIsProtected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		failFirst(cluster, 1, codes.Unavailable)
		err := surecall.Notify(t.Context(), client, orders.NewOrdersClient(client).Cancel, &orders.CancelRequest{Id: "1"})
		if err != nil {
			t.Fatal(err)
		}
		flush(t, client)
		wantCounts(t, client, surecall.NotificationCounts{Sent: 1})
	})
}

// Closing the client ends what is pending, tells of it, and leaves no goroutine.
func TestNotifyEndsWithTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told log
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithNotifications(surecall.NotifyPolicy{MaxInFlight: 3}), told.option(),
			surecall.WithoutCallDeadline())
		release := holdAll(cluster)
		defer release()
		for range 10 {
			if err := place(t.Context(), client, "tea"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		flushed := make(chan error, 1)
		go func() { flushed <- client.Flush(t.Context()) }()
		synctest.Wait()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		wantCounts(t, client, surecall.NotificationCounts{Failed: 3, Dropped: 7})
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		for _, d := range eventsOf[event.NotificationDropped](&told) {
			if status.Code(d.Err) != codes.Canceled {
				t.Errorf("told of %v, want CANCELED", d.Err)
			}
		}
		if n := len(eventsOf[event.NotificationDropped](&told)); n != 10 {
			t.Errorf("told of %d, want 10", n)
		}
		if err := place(t.Context(), client, "tea"); status.Code(err) != codes.Canceled {
			t.Errorf("after Close: %v, want CANCELED", err)
		}
		wantCounts(t, client, surecall.NotificationCounts{Failed: 3, Dropped: 8})
	})
}

// Close waits for those that were being sent, also if what is around the call takes its
// time to end.
func TestNotifyCloseWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		tidies := grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			err := invoker(ctx, method, req, reply, cc, opts...)
			advance(time.Second)
			return err
		})
		client := ready(t, cluster, surecall.WithDialOptions(tidies))
		release := holdAll(cluster)
		defer release()
		if err := place(t.Context(), client, "tea"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		if err := client.Close(); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v, want nil after 1s", err, time.Since(began))
		}
		wantCounts(t, client, surecall.NotificationCounts{Failed: 1})
	})
}

// closing is a request that closes the client while it is copied.
type closing struct {
	*orders.PlaceRequest
	looks int
	close func()
}

func (c *closing) ProtoReflect() protoreflect.Message {
	if c.looks++; c.looks == 2 { // the first one is for its size
		c.close()
	}
	return c.PlaceRequest.ProtoReflect()
}
