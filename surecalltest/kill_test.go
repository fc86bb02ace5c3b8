package surecalltest_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/surecalltest"
)

// Whatever the calls wait for, and though the server waits for their handlers, Kill and
// KillAfter end. No caller gets an answer, and of those that wait none is executed.
func TestKilledWithServersThatWaitForHandlers(t *testing.T) {
	for name, c := range map[string]struct {
		fault    func(*surecalltest.Instance)
		executed int
	}{
		"KillAfter": {func(i *surecalltest.Instance) { i.KillAfter(1) }, 1},
		"with a queue": {func(i *surecalltest.Instance) {
			i.Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: time.Hour})
			time.AfterFunc(time.Second, i.Kill)
		}, 0},
		"with a delay": {func(i *surecalltest.Instance) {
			i.Delay(time.Hour)
			time.AfterFunc(time.Second, i.Kill)
		}, 0},
	} {
		for _, managed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				executed := 0
				cluster := surecalltest.NewCluster(t, 0, grpc.WaitForHandlers(true), grpc.ChainUnaryInterceptor(
					func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
						mu.Lock()
						defer mu.Unlock()
						if strings.HasSuffix(info.FullMethod, "/Place") {
							executed++
						}
						return handler(ctx, req)
					}))
				if managed {
					cluster.AddLifecycle(lifecycle.Drain{})
				} else {
					cluster.Add()
				}
				client := direct(t, cluster, 0)
				c.fault(cluster.Instance(0))
				var calls sync.WaitGroup
				for range 3 - 2*c.executed { // KillAfter(1): one
					calls.Go(func() {
						_, err := client.Place(t.Context(), &orders.PlaceRequest{})
						if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "killed") {
							t.Errorf("%s: %v: want a lost connection", name, err)
						}
					})
				}
				calls.Wait()
				synctest.Wait()
				if n := cluster.Instance(0).InFlight(); n != 0 || executed != c.executed {
					t.Errorf("%s: %d calls left, %d executed: want none, and %d", name, n, executed, c.executed)
				}
				cluster.Instance(0).Capacity(surecalltest.Capacity{})
				cluster.Instance(0).Delay(0)
				cluster.Instance(0).Start()
				time.Sleep(3 * time.Second)
				if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil {
					t.Errorf("%s, and started again: %v", name, err)
				}
			})
		}
	}
}

// The calls that wait on other connections, when one that was executed ends the process,
// get no answer either.
func TestKilledAnswersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		i := cluster.Instance(0)
		i.KillAfter(1)
		i.DelayFunc(func(method string, _ int64) time.Duration {
			if strings.HasSuffix(method, "/Get") {
				return time.Hour
			}
			return time.Second
		})
		var calls sync.WaitGroup
		for range 50 {
			client := direct(t, cluster, 0)
			calls.Go(func() {
				_, err := client.Get(t.Context(), &orders.GetRequest{})
				if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "killed") {
					t.Errorf("%v: want a lost connection", err)
				}
			})
		}
		_, _ = direct(t, cluster, 0).Place(t.Context(), &orders.PlaceRequest{})
		calls.Wait()
	})
}

// A machine that lost its power is reached again when it is back, and runs.
func TestPowerLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client, i := direct(t, cluster, 0), cluster.Instance(0)
		get := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := client.Get(ctx, &orders.GetRequest{}, grpc.WaitForReady(true))
			return err
		}
		if err := get(); err != nil {
			t.Fatal(err)
		}
		i.BlackHole()
		i.Kill()
		if err := get(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("without power: %v", err)
		}
		i.Resume()
		i.Start()
		time.Sleep(3 * time.Second)
		if err := get(); err != nil {
			t.Errorf("with power: %v", err)
		}
	})
}

// Change's function may ask the instance, and what it was told before stays as it was.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		i := cluster.Instance(0)
		i.Change(func(d *discovery.Instance) { d.Meta = map[string]string{"at": i.Address()} })
		before := listed(t, cluster)
		i.Change(func(d *discovery.Instance) { d.Meta["at"] = "elsewhere" })
		if was, is := before[0].Meta["at"], listed(t, cluster)[0].Meta["at"]; was != i.Address() || is != "elsewhere" {
			t.Errorf("%q became %q", was, is)
		}
		var changes sync.WaitGroup
		for range 64 {
			changes.Go(func() {
				i.Change(func(d *discovery.Instance) {
					runtime.Gosched()
					d.Weight++
				})
			})
		}
		changes.Wait()
		if w := listed(t, cluster)[0].Weight; w != 65 {
			t.Errorf("weight %d after 64 changes by 1: want 65", w)
		}
	})
}
