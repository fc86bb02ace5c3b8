package surecalltest_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/surecalltest"
)

// What a share means: about as many, spread as chance has it, and the same in every run.
func TestShares(t *testing.T) {
	const calls = 2000
	run := func(t *testing.T) (slow, failed []int) {
		cluster := surecalltest.NewCluster(t, 1)
		cluster.Instance(0).DelaySome(0.02, time.Second)
		cluster.Instance(0).FailSome(0.3, codes.Internal)
		client := direct(t, cluster, 0)
		for n := range calls {
			began := time.Now()
			_, err := client.Get(t.Context(), &orders.GetRequest{})
			if time.Since(began) == time.Second {
				slow = append(slow, n)
			}
			if status.Code(err) == codes.Internal {
				failed = append(failed, n)
			}
		}
		return slow, failed
	}
	var slow, failed [2][]int
	for n := range 2 {
		synctest.Test(t, func(t *testing.T) { slow[n], failed[n] = run(t) })
	}
	if n := len(slow[0]); n < calls/100 || n > 3*calls/100 {
		t.Errorf("%d of %d are slow: want about 2 %%", n, calls)
	}
	if n := len(failed[0]); n < 27*calls/100 || n > 33*calls/100 {
		t.Errorf("%d of %d fail: want about 30 %%", n, calls)
	}
	both := map[int]bool{}
	for _, n := range slow[0] {
		both[n] = true
	}
	together, runOf, longest, last := 0, 0, 0, -1
	for _, n := range failed[0] {
		if both[n] {
			together++
		}
		if n != last+1 {
			runOf = 0
		}
		runOf, last = runOf+1, n
		longest = max(longest, runOf)
	}
	if together == 0 || together == len(slow[0]) {
		t.Errorf("%d of the %d slow ones fail: want those that chance makes", together, len(slow[0]))
	}
	if longest < 3 || longest > 12 {
		t.Errorf("at most %d failures in a row: want what chance makes of 30 %%, 6 or so", longest)
	}
	for name, runs := range map[string][2][]int{"slow": slow, "failed": failed} {
		if len(runs[0]) != len(runs[1]) || runs[0][7] != runs[1][7] {
			t.Errorf("%s: not the same in the second run", name)
		}
	}
}

// counter is an orders server of one's own, which counts its executions.
type counter struct {
	orders.UnimplementedOrdersServer
	executed *atomic.Int64
}

func (c counter) Place(context.Context, *orders.PlaceRequest) (*orders.Order, error) {
	c.executed.Add(1)
	return &orders.Order{}, nil
}

func counted(t *testing.T, n int) (*surecalltest.Cluster, *atomic.Int64) {
	executed := new(atomic.Int64)
	return surecalltest.NewClusterOf(t, n, func(s grpc.ServiceRegistrar, i *surecalltest.Instance) {
		if i.Address() == "" {
			t.Error("an instance without an address")
		}
		orders.RegisterOrdersServer(s, counter{executed: executed})
	}), executed
}

// The call was executed, and its caller cannot know. Neither its connection nor, after
// KillAfter, the instance can be reached from then on.
func TestAnswersGetLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, executed := counted(t, 1)
		instance := cluster.Instance(0)
		client := direct(t, cluster, 0)
		place := func() codes.Code {
			_, err := client.Place(t.Context(), &orders.PlaceRequest{})
			return status.Code(err)
		}
		instance.KillAfter(3)
		instance.FailFunc(func(_ string, call int64) error {
			if call == 1 {
				return status.Error(codes.Aborted, "not executed, not counted")
			}
			return nil
		})
		for n, want := range []codes.Code{codes.Aborted, codes.OK, codes.OK, codes.Unavailable, codes.Unavailable} {
			if got := place(); got != want {
				t.Errorf("call %d: %v: want %v", n, got, want)
			}
		}
		if n := executed.Load(); n != 3 || instance.Calls() != 4 {
			t.Errorf("%d executed, %d arrived: want 3 and 4", n, instance.Calls())
		}
		instance.Start()
		time.Sleep(3 * time.Second)
		instance.LoseAnswers(0.25)
		dials := instance.Dials()
		lost := 0
		for range 400 {
			if place() != codes.OK {
				lost++
			}
			time.Sleep(3 * time.Second) // it connects again
		}
		if n := executed.Load(); n != 403 || lost < 70 || lost > 130 {
			t.Errorf("%d executed, %d answers lost of 400: want all, and about a quarter", n-3, lost)
		}
		if n := instance.Dials() - dials; n < lost {
			t.Errorf("%d answers lost, and %d new connections", lost, n)
		}
	})
}

// Interceptors are part of the handler: a failing call does not reach them, one whose answer
// gets lost has, whatever the server is.
func TestServerOptions(t *testing.T) {
	for _, managed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			met := 0 // calls are one by one
			cluster := surecalltest.NewCluster(t, 0, grpc.ChainUnaryInterceptor(
				func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
					met++
					return handler(ctx, req)
				}))
			if managed {
				cluster.AddLifecycle(lifecycle.Drain{})
			} else {
				cluster.Add()
			}
			before := met // a server of package lifecycle calls itself as it starts
			instance, client := cluster.Instance(0), direct(t, cluster, 0)
			instance.Fail(codes.Aborted)
			if _, err := client.Get(t.Context(), &orders.GetRequest{}); status.Code(err) != codes.Aborted || met != before {
				t.Errorf("a failing call: %v, met the interceptor: %v", err, met != before)
			}
			instance.Fail(codes.OK)
			instance.KillAfter(1)
			if _, err := client.Get(t.Context(), &orders.GetRequest{}); status.Code(err) != codes.Unavailable || met != before+1 {
				t.Errorf("a lost answer: %v, met the interceptor: %v", err, met != before)
			}
			if _, err := cluster.Dial(t.Context(), instance.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dialled after its end: %v", err)
			}
		})
	}
}

// A stream's end gets lost too.
func TestStreamsLoseTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		cluster.Instance(0).KillAfter(1)
		stream, err := direct(t, cluster, 0).Import(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.CloseAndRecv(); status.Code(err) != codes.Unavailable {
			t.Errorf("%v: want a lost connection", err)
		}
	})
}

// However many faults are on, and calls under way, nothing outlasts the test: the bubble
// says so.
func TestEndsWithFaultsOn(t *testing.T) {
	for name, fault := range map[string]func(*surecalltest.Instance){
		"Hang": (*surecalltest.Instance).Hang, "BlackHole": (*surecalltest.Instance).BlackHole,
		"both":      func(i *surecalltest.Instance) { i.Hang(); i.BlackHole() },
		"killed":    func(i *surecalltest.Instance) { i.BlackHole(); i.Kill() },
		"Delay":     func(i *surecalltest.Instance) { i.Delay(time.Hour) },
		"KillAfter": func(i *surecalltest.Instance) { i.KillAfter(2) },
		"Capacity": func(i *surecalltest.Instance) {
			i.Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: time.Hour})
		},
		"stopping": func(i *surecalltest.Instance) { i.Delay(time.Hour); go i.Stop() },
		"leaving":  func(i *surecalltest.Instance) { i.Delay(time.Hour); go i.Leave() },
	} {
		for _, managed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 0)
				if managed {
					cluster.AddLifecycle(lifecycle.Drain{})
				} else {
					cluster.Add()
				}
				client := orders.NewOrdersClient(cluster.Client())
				plain := direct(t, cluster, 0)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if _, err := client.Get(ctx, &orders.GetRequest{}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				var calls sync.WaitGroup
				for range 3 {
					calls.Go(func() { _, _ = client.Place(ctx, &orders.PlaceRequest{}) })
					calls.Go(func() { _, _ = plain.Place(ctx, &orders.PlaceRequest{}) })
				}
				time.Sleep(time.Millisecond)
				fault(cluster.Instance(0))
				for range 3 {
					calls.Go(func() { _, _ = client.Place(ctx, &orders.PlaceRequest{}) })
					calls.Go(func() { _, _ = plain.Place(ctx, &orders.PlaceRequest{}) })
				}
				calls.Wait()
			})
		}
	}
}
