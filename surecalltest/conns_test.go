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
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// In a black hole nobody learns anything: not of the end of the server, not of the end of
// the connection. A process that hangs and is killed closes its connections.
func TestBlackHoleHidesTheEnd(t *testing.T) {
	for name, hides := range map[string]bool{"BlackHole": true, "Hang": false} {
		synctest.Test(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 1)
			instance, client := cluster.Instance(0), direct(t, cluster, 0)
			if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil {
				t.Fatal(err)
			}
			if hides {
				instance.BlackHole()
			} else {
				instance.Hang()
			}
			time.AfterFunc(time.Second, instance.Kill)
			time.AfterFunc(time.Minute, instance.Resume)
			began := time.Now()
			_, err := client.Get(t.Context(), &orders.GetRequest{})
			want := time.Second
			if hides {
				want = time.Minute
			}
			if took := time.Since(began); status.Code(err) != codes.Unavailable || took != want {
				t.Errorf("%s and Kill: %v after %v: want the end of the connection after %v", name, err, took, want)
			}
		})
	}
}

// Nor does the server learn that its caller is gone.
func TestBlackHoleHidesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		instance := cluster.Instance(0)
		instance.Delay(time.Hour)
		conn, err := grpc.NewClient("passthrough:///"+instance.Address(),
			grpc.WithContextDialer(cluster.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		var call sync.WaitGroup
		call.Go(func() { _, _ = orders.NewOrdersClient(conn).Get(t.Context(), &orders.GetRequest{}) })
		synctest.Wait()
		instance.BlackHole()
		_ = conn.Close()
		call.Wait()
		synctest.Wait()
		if n := instance.InFlight(); n != 1 {
			t.Errorf("in a black hole: %d in flight: want the call whose caller is gone", n)
		}
		instance.Resume()
		synctest.Wait()
		if n := instance.InFlight(); n != 0 {
			t.Errorf("after it: %d in flight: want none", n)
		}
	})
}

// What is dialled in a black hole hangs, while a process that hangs takes connections.
func TestDialsInABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		dial := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			c, err := cluster.Dial(ctx, cluster.Instance(0).Address())
			if err == nil {
				_ = c.Close()
			}
			return err
		}
		cluster.Instance(0).Hang()
		if err := dial(); err != nil {
			t.Errorf("a process that hangs: %v", err)
		}
		cluster.Instance(0).BlackHole()
		began := time.Now()
		if err := dial(); err == nil || time.Since(began) != time.Second {
			t.Errorf("a black hole: %v after %v: want nothing until the end of the context", err, time.Since(began))
		}
		time.AfterFunc(500*time.Millisecond, cluster.Instance(0).Resume)
		if err := dial(); err != nil {
			t.Errorf("after it: %v", err)
		}
		if n := cluster.Instance(0).Dials(); n != 2 {
			t.Errorf("%d connections: want those that were made", n)
		}
	})
}
