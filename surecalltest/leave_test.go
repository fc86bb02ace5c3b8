package surecalltest_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/surecalltest"
)

// Each instance leaves in its turn and comes back, under load: nobody notices, and nothing
// is executed twice. It is so for plain servers too, as long as the network has no latency.
func TestRollingRestart(t *testing.T) {
	for name, add := range map[string]func(*surecalltest.Cluster){
		"plain":     func(c *surecalltest.Cluster) { c.Add() },
		"lifecycle": func(c *surecalltest.Cluster) { c.AddLifecycle(lifecycle.Drain{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster, executed := counted(t, 0)
				for range 3 {
					add(cluster)
				}
				client := orders.NewOrdersClient(cluster.Client())
				for _, i := range cluster.Instances() {
					i.Delay(20 * time.Millisecond)
				}
				ctx, stop := context.WithCancel(t.Context())
				placed := make(chan int64)
				go func() {
					var calls sync.WaitGroup
					issued := int64(0)
					for ; ctx.Err() == nil; issued++ {
						calls.Go(func() {
							if _, err := client.Place(t.Context(), &orders.PlaceRequest{}); err != nil {
								t.Error(err)
							}
						})
						time.Sleep(10 * time.Millisecond)
					}
					calls.Wait()
					placed <- issued
				}()
				for _, i := range cluster.Instances() {
					time.Sleep(time.Second)
					i.Leave()
					if n := len(listed(t, cluster)); n != 2 || i.InFlight() != 0 {
						t.Errorf("%s has left: %d listed, %d in flight there: want 2 and 0", i.ID(), n, i.InFlight())
					}
					i.Start()
					i.List()
				}
				time.Sleep(5 * time.Second)
				stop()
				if n := <-placed; n != executed.Load() {
					t.Errorf("%d placed, %d executed", n, executed.Load())
				}
				for _, i := range cluster.Instances() {
					if i.Calls() == 0 {
						t.Errorf("%s got no call", i.ID())
					}
				}
			})
		})
	}
}

// A lifecycle instance marks its answers while it drains, and a call that is cut off by
// Kill does not wait for that.
func TestAddLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 0)
		instance := cluster.AddLifecycle(lifecycle.Drain{Propagation: time.Minute})
		client := direct(t, cluster, 0)
		marked := func() bool {
			var trailer metadata.MD
			if _, err := client.Get(t.Context(), &orders.GetRequest{}, grpc.Trailer(&trailer)); err != nil {
				t.Error(err)
			}
			return len(trailer.Get(wire.Draining)) > 0
		}
		first := listed(t, cluster)[0]
		if marked() || first.Meta[discovery.MetaLifecycle] != "1" || instance.Calls() != 1 {
			t.Errorf("online: a marked answer, meta %v or %d calls", first.Meta, instance.Calls())
		}
		var left sync.WaitGroup
		left.Go(instance.Leave)
		left.Go(instance.Leave) // joins
		synctest.Wait()
		if !marked() || len(listed(t, cluster)) != 0 {
			t.Error("leaving: want marked answers, and to be delisted")
		}
		instance.Delay(time.Hour)
		began := time.Now()
		time.AfterFunc(time.Second, instance.Kill)
		if _, err := client.Get(t.Context(), &orders.GetRequest{}); status.Code(err) != codes.Unavailable || time.Since(began) != time.Second {
			t.Errorf("killed while leaving: %v after %v", err, time.Since(began))
		}
		left.Wait()
		instance.Delay(0)
		instance.Start()
		instance.List()
		again := listed(t, cluster)[0]
		if again.Incarnation == first.Incarnation || again.Meta[discovery.MetaIncarnation] != again.Incarnation {
			t.Errorf("the next life has incarnation %q, meta %v: want another than %q", again.Incarnation, again.Meta, first.Incarnation)
		}
		time.Sleep(3 * time.Second)
		if marked() {
			t.Error("the next life: a marked answer")
		}
		instance.Kill()
		instance.Start() // it is still listed
		if third := listed(t, cluster)[0]; third.Incarnation == again.Incarnation {
			t.Errorf("started again after Kill: still incarnation %q", third.Incarnation)
		}
	})
}

// Whoever watches the health of an instance that leaves is told.
func TestLeaveSaysNotServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		conn, err := grpc.NewClient("passthrough:///"+cluster.Instance(0).Address(),
			grpc.WithContextDialer(cluster.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []healthpb.HealthCheckResponse_ServingStatus{
			healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING,
		} {
			if said, err := watch.Recv(); err != nil || said.GetStatus() != want {
				t.Errorf("it says %v, %v: want %v", said.GetStatus(), err, want)
			}
			go cluster.Instance(0).Leave()
		}
		synctest.Wait()
		if n := cluster.Instance(0).Calls(); n != 0 || len(listed(t, cluster)) != 0 {
			t.Errorf("%d calls counted, %d listed: want neither", n, len(listed(t, cluster)))
		}
	})
}

// A stop that waits for a call can be cut short, as SIGKILL does after SIGTERM.
func TestKillWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := direct(t, cluster, 0)
		cluster.Instance(0).Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: time.Hour})
		began := time.Now()
		ended := make(chan error)
		go func() {
			_, err := client.Get(t.Context(), &orders.GetRequest{})
			ended <- err
		}()
		synctest.Wait()
		time.AfterFunc(time.Second, cluster.Instance(0).Kill)
		go cluster.Instance(0).Stop()
		if err := <-ended; status.Code(err) != codes.Unavailable || time.Since(began) != time.Second {
			t.Errorf("%v after %v: want a lost connection after 1 s", err, time.Since(began))
		}
	})
}
