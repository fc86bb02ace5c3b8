package surecall_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// A framework that owns the dial gets everything as dial options.
func TestDialOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		options, err := surecall.DialOptions("memory:///orders", cluster.Options(), events.option())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := grpc.NewClient("memory:///orders", options...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		get(t, conn)
		failFirst(cluster, 1, codes.Unavailable)
		get(t, conn)
		if n := len(eventsOf[event.AttemptRetried](events)); n != 1 {
			t.Errorf("%d retries: want 1", n)
		}

		second, err := grpc.NewClient("memory:///orders", options...)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if _, err := unary(t.Context(), second, getMethod); err == nil || !strings.Contains(err.Error(), "call DialOptions once for each grpc.NewClient") {
			t.Errorf("second connection: %v: want to be told", err)
		}
		get(t, conn)
		conn.Close()
		synctest.Wait()
	})
}

// The connection beneath is protected as the client is: a stub may be made of either.
func TestConn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		failFirst(cluster, 2, codes.Unavailable)
		get(t, client.Conn())
		hangAll(cluster)
		began := time.Now()
		_, _ = unary(t.Context(), client.Conn(), placeMethod)
		if took := time.Since(began); took != surecall.DefaultCallDeadline {
			t.Errorf("took %v: want the call deadline", took)
		}
	})
}

// Close ends calls and streams in flight, and leaves nothing running.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		hangAll(cluster)
		ended := make(chan error, 2)
		go func() {
			_, err := unary(t.Context(), client, getMethod)
			ended <- err
		}()
		go func() {
			stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			ended <- err
		}()
		time.Sleep(time.Millisecond)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ended; status.Code(err) != codes.Canceled {
				t.Errorf("in flight: %v: want CANCELED", err)
			}
		}
		if _, err := unary(t.Context(), client, getMethod); status.Code(err) != codes.Canceled {
			t.Errorf("after Close: %v: want CANCELED", err)
		}
		if err := client.Close(); err == nil {
			t.Error("second Close: want gRPC's error")
		}
		resumeAll(cluster)
	})
}

// An instance that dies takes no idempotent call with it.
func TestInstanceDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		teach(t, cluster, client, 40, 5*time.Millisecond)
		time.AfterFunc(time.Second, cluster.Instance(0).Kill)
		time.AfterFunc(2*time.Second, cluster.Instance(0).Start)
		wantAll(t, load(t, client, getMethod, 4*time.Millisecond, 5*time.Second), 50*time.Millisecond)
		if n := cluster.Instance(0).Dials(); n != 2 {
			t.Errorf("%d connections: want a second one", n)
		}
	})
}

// An instance that stops gracefully, or leaves the registry, loses no call, idempotent
// or not.
func TestInstanceLeaves(t *testing.T) {
	for name, leave := range map[string]func(*surecalltest.Instance){
		"stops": (*surecalltest.Instance).Stop, "delisted": (*surecalltest.Instance).Delist,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster)
				for _, i := range cluster.Instances() {
					i.Delay(100 * time.Millisecond)
				}
				time.AfterFunc(time.Second+500*time.Microsecond, func() { leave(cluster.Instance(0)) })
				wantAll(t, load(t, client, placeMethod, 4*time.Millisecond, 2*time.Second), 300*time.Millisecond)
				if after := cluster.Instance(0).Calls(); after > 280/3*2 {
					t.Errorf("%d of 500 calls: want none once it has left", after)
				}
			})
		})
	}
}

// An instance that joins takes its share slowly.
func TestInstanceJoins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		get(t, client)
		time.Sleep(time.Minute)
		joined := cluster.Add()
		synctest.Wait()
		load(t, client, getMethod, 2*time.Millisecond, time.Second)
		if n := joined.Calls(); n == 0 || n > 500/4/2 {
			t.Errorf("%d of the first 500 calls: want few, and some", n)
		}
		time.Sleep(time.Minute)
		before := joined.Calls()
		load(t, client, getMethod, 2*time.Millisecond, time.Second)
		if n := joined.Calls() - before; n < 500/4*2/3 {
			t.Errorf("%d of 500 calls a minute later: want a quarter", n)
		}
	})
}

// Weights are shares of the calls.
func TestWeights(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		cluster.Instance(0).Change(func(i *discovery.Instance) { i.Weight = 4 })
		client := ready(t, cluster)
		for range 3000 {
			get(t, client)
		}
		for n, want := range []int{2000, 500, 500} {
			if calls := cluster.Instance(n).Calls(); calls < want*8/10 || calls > want*12/10 {
				t.Errorf("instance %d: %d of 3000 calls: want about %d", n, calls, want)
			}
		}
		cluster.Instance(0).Change(func(i *discovery.Instance) { i.Weight = 1 })
		synctest.Wait()
		before := cluster.Instance(0).Calls()
		for range 3000 {
			get(t, client)
		}
		if calls := cluster.Instance(0).Calls() - before; calls < 800 || calls > 1200 {
			t.Errorf("instance 0: %d of 3000 calls after its weight changed: want a third", calls)
		}
		if n := cluster.Instance(0).Dials(); n != 1 {
			t.Errorf("%d connections: a weight must not cost a reconnect", n)
		}
	})
}

// The registry may fail for as long as it likes: what is known goes on serving.
func TestRegistryFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option())
		get(t, client)
		cluster.Registry.Fail(context.DeadlineExceeded)
		time.Sleep(time.Hour)
		wantAll(t, load(t, client, getMethod, 10*time.Millisecond, time.Second), 0)
		cluster.Registry.Recover()
		synctest.Wait()
		if len(eventsOf[event.SourceDegraded](events)) != 1 || len(eventsOf[event.SourceRecovered](events)) != 1 {
			t.Errorf("events %+v: want that it failed and recovered", events.events)
		}
	})
}

// All instances vanish from the registry at once, and live: that is not believed.
func TestLargeLossIsDoubted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		get(t, client)
		cluster.Registry.Set(surecalltest.Service)
		time.Sleep(time.Minute)
		wantAll(t, load(t, client, getMethod, 10*time.Millisecond, time.Second), 0)
		for _, i := range client.Instances() {
			if i.State != event.Absent {
				t.Errorf("%s is %s: want absent", i.ID, i.State)
			}
		}
	})
}
