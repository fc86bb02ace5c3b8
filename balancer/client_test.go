package balancer_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

func get(ctx context.Context, client grpc.ClientConnInterface, opts ...grpc.CallOption) (string, error) {
	o, err := orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: "1"}, opts...)
	return o.GetServedBy(), err
}

// warm connects all.
func warm(t *testing.T, client *surecall.Client) {
	t.Helper()
	if _, err := get(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
}

func states(client *surecall.Client) map[string]event.State {
	all := map[string]event.State{}
	for _, i := range client.Instances() {
		all[i.ID] = i.State
	}
	return all
}

// TestIdleKeepsEjections: a client that went idle remembers who was ejected, and gives
// it its trial.
func TestIdleKeepsEjections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cluster.Client(surecall.WithIdleTimeout(2*time.Second),
			surecall.WithBalancer(balancer.Policy{Choice: balancer.RoundRobin}))
		warm(t, client)
		cluster.Instance(0).Fail(codes.Unavailable)
		for range 30 {
			if _, err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		if s := states(client)["orders-1"]; s != event.Ejected {
			t.Fatalf("orders-1 is %s after failing all its calls", s)
		}
		time.Sleep(3 * time.Second)
		if n := len(client.Instances()); n != 0 {
			t.Fatalf("idle, with %d instances", n)
		}
		failed := cluster.Instance(0).Calls()
		for range 20 {
			if _, err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		for range 20 {
			if _, err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		if s := states(client)["orders-1"]; s != event.Ejected || cluster.Instance(0).Calls() != failed {
			t.Errorf("awake again: orders-1 is %s and got %d calls", s, cluster.Instance(0).Calls()-failed)
		}
		cluster.Instance(0).Fail(codes.OK)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if _, err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		if s := states(client)["orders-1"]; s != event.Eligible {
			t.Errorf("healthy again for 10 s, orders-1 is %s", s)
		}
	})
}

// TestReconnects: a lost connection is dialled anew at once, without a call.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cluster.Client()
		warm(t, client)
		cluster.Instance(0).Kill()
		cluster.Instance(0).Start()
		time.Sleep(time.Second)
		if s := states(client); s["orders-1"] != event.Eligible {
			t.Errorf("a second after it is back: %v", s)
		}
	})
}

// TestNobodyLeft: with no connection a call is rejected and says why; one that waits for
// ready waits.
func TestNobodyLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cluster.Client()
		warm(t, client)
		cluster.Instance(0).Kill()
		cluster.Instance(1).Kill()
		time.Sleep(2 * time.Second)
		var r *surecall.Rejection
		if _, err := get(t.Context(), client); !errors.As(err, &r) || r.Known != 2 || r.States[event.Failed] != 2 || r.LastErr == nil {
			t.Errorf("ended with %v", err)
		}
		waited := make(chan error)
		go func() {
			_, err := get(t.Context(), client, grpc.WaitForReady(true))
			waited <- err
		}()
		time.Sleep(time.Second)
		cluster.Instance(1).Start()
		if err := <-waited; err != nil {
			t.Errorf("a call that waits for ready ended with %v", err)
		}
	})
}

// TestMaxDials: of 300 instances at most 100 are dialled at a time, and all in the end.
func TestMaxDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 300)
		var mu sync.Mutex
		now, most := 0, 0
		client := cluster.Client(surecall.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			defer func() {
				mu.Lock()
				now--
				mu.Unlock()
			}()
			return cluster.Dial(ctx, address)
		}))
		warm(t, client)
		for id, s := range states(client) {
			if s != event.Eligible {
				t.Errorf("%s is %s", id, s)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if most != 100 {
			t.Errorf("%d dials at a time, want 100", most)
		}
	})
}

// TestOneConnectionEach: the dial options of one client serve one connection.
func TestOneConnectionEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		opts, err := surecall.DialOptions("memory:///orders", cluster.Options())
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			conn, err := grpc.NewClient("memory:///orders", opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err = get(t.Context(), conn); (err == nil) != (n == 0) {
				t.Errorf("connection %d: %v", n+1, err)
			}
		}
	})
}
