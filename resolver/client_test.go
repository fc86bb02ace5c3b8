package resolver_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/surecalltest"
)

// served counts by instance who served n calls.
func served(t *testing.T, client grpc.ClientConnInterface, n int) map[string]int {
	t.Helper()
	by := map[string]int{}
	for range n {
		o, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "1"})
		if err != nil {
			t.Fatal(err)
		}
		by[o.GetServedBy()]++
	}
	return by
}

// TestWeightChangeKeepsConnections: a weight reaches the choice, and nobody reconnects.
func TestWeightChangeKeepsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cluster.Client()
		served(t, client, 1)
		time.Sleep(time.Second) // both are connected
		if by := served(t, client, 2000); by["orders-1"] < 800 || by["orders-1"] > 1200 {
			t.Errorf("served %v of equal weights", by)
		}
		cluster.Instance(1).Change(func(i *discovery.Instance) { i.Weight = 9 })
		synctest.Wait()
		if by := served(t, client, 2000); by["orders-2"] < 1600 || by["orders-1"] == 0 {
			t.Errorf("served %v of weights 1 and 9", by)
		}
		for _, i := range cluster.Instances() {
			if i.Dials() != 1 {
				t.Errorf("%s was dialled %d times", i.ID(), i.Dials())
			}
		}
	})
}

// accepts counts the connections that a listener accepted.
type accepts struct {
	net.Listener
	n atomic.Int64
}

func (l *accepts) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

type oneOrder struct {
	orders.UnimplementedOrdersServer
}

func (oneOrder) Get(context.Context, *orders.GetRequest) (*orders.Order, error) {
	return &orders.Order{}, nil
}

// TestWeightChangeKeepsConnectionsOverTCP is the same on real sockets.
func TestWeightChangeKeepsConnectionsOverTCP(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &accepts{Listener: inner}
	server := grpc.NewServer()
	orders.RegisterOrdersServer(server, oneOrder{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		<-served
	}()
	registry := memory.New()
	set := func(weight int) {
		registry.Set("orders", discovery.Instance{ID: "a", Address: inner.Addr().String(), Weight: weight, Incarnation: "1"})
	}
	set(1)
	client, err := surecall.NewClient("memory:///orders", surecall.WithSource(registry), surecall.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for weight := 2; weight < 8; weight++ {
		if _, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{}); err != nil {
			t.Fatal(err)
		}
		set(weight)
	}
	if n := l.n.Load(); n != 1 {
		t.Errorf("%d connections over 6 changes of weight, want 1", n)
	}
}

// TestEmptyIsExplained: with a service that has no usable instance, callers are told
// what the source knows.
func TestEmptyIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		cluster.Instance(0).Change(func(i *discovery.Instance) { i.Health = discovery.Critical })
		client := cluster.Client()
		_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "1"})
		if !errors.Is(err, surecall.ErrNoInstance) {
			t.Fatalf("the first call ended with %v", err)
		}
		time.Sleep(200 * time.Millisecond)
		_, err = orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "1"})
		const want = `surecall: no eligible instance of "orders": 0 known; last error 0.2s ago: memory has 1, critical`
		if err == nil || err.Error() != want {
			t.Errorf("the second ended with\n%v, want\n%s", err, want)
		}
		cluster.Instance(0).Change(func(i *discovery.Instance) { i.Health = discovery.Passing })
		synctest.Wait()
		served(t, client, 1)
	})
}

// TestSourceErrorReachesCallers: before there is a first answer, the source's error is
// what a call ends with.
func TestSourceErrorReachesCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		cluster.Registry.Fail(errors.New("no route to host"))
		client := cluster.Client()
		_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{Id: "1"})
		if !errors.Is(err, surecall.ErrNoInstance) || !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("ended with %v", err)
		}
		cluster.Registry.Recover()
		synctest.Wait()
		served(t, client, 1)
		cluster.Registry.Fail(errors.New("no route to host"))
		time.Sleep(time.Hour)
		served(t, client, 10)
	})
}

// TestAbsentServeWhileConnected: what a large loss takes serves on, until its connection
// ends; then it is gone, and not dialled again.
func TestAbsentServeWhileConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 4)
		client := cluster.Client()
		served(t, client, 1)
		time.Sleep(time.Second)
		cluster.Registry.Set(surecalltest.Service)
		synctest.Wait()
		if by := served(t, client, 200); len(by) != 4 {
			t.Fatalf("after the loss served %v", by)
		}
		cluster.Instance(0).Kill()
		cluster.Instance(0).Start()
		synctest.Wait()
		if by := served(t, client, 200); len(by) != 3 || by["orders-1"] != 0 {
			t.Errorf("after the connection ended served %v", by)
		}
		time.Sleep(resolver.DefaultHold + time.Second)
		_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{})
		if !errors.Is(err, surecall.ErrNoInstance) || !strings.HasSuffix(err.Error(), "memory has none") {
			t.Errorf("after 5 minutes a call ended with %v", err)
		}
		if n := cluster.Instance(0).Dials(); n != 1 {
			t.Errorf("orders-1 was dialled %d times, want 1", n)
		}
	})
}

// TestApplyAtOnce: a loss that is to be believed is.
func TestApplyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cluster.Client(surecall.WithLoss(resolver.ApplyAtOnce()))
		served(t, client, 1)
		cluster.Registry.Set(surecalltest.Service)
		synctest.Wait()
		_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{})
		if !errors.Is(err, surecall.ErrNoInstance) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestSmallLossIsBelieved: calls in flight on an instance that left finish.
func TestSmallLossIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cluster.Client(surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: time.Minute}))
		served(t, client, 1)
		time.Sleep(time.Second) // both are connected
		cluster.Instance(0).Delay(3 * time.Second)
		results := make(chan error, 20)
		for range cap(results) {
			go func() {
				_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{})
				results <- err
			}()
		}
		time.Sleep(time.Second)
		before := cluster.Instance(0).Calls()
		if before < 2 {
			t.Fatal("no call is in flight on orders-1")
		}
		cluster.Instance(0).Delist()
		synctest.Wait()
		served(t, client, 50)
		if n := cluster.Instance(0).Calls(); n != before {
			t.Errorf("orders-1 got %d calls after it left", n-before)
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}
