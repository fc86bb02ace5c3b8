package surecalltest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// direct is a plain connection to one instance, with nothing of surecall's between.
func direct(t *testing.T, c *surecalltest.Cluster, n int) orders.OrdersClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.Instance(n).Address(),
		grpc.WithContextDialer(c.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return orders.NewOrdersClient(conn)
}

// snapshot is what the registry says of the service.
func snapshot(t *testing.T, c *surecalltest.Cluster) (last discovery.Snapshot) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	_ = c.Registry.Watch(ctx, discovery.Query{Service: surecalltest.Service}, func(s discovery.Snapshot) {
		last = s
		cancel()
	})
	return last
}

func listed(t *testing.T, c *surecalltest.Cluster) []discovery.Instance {
	t.Helper()
	return snapshot(t, c).Instances
}

func TestService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := direct(t, cluster, 1)
		id := cluster.Instance(1).ID()
		if order, err := client.Get(t.Context(), &orders.GetRequest{Id: "7"}); err != nil || order.GetId() != "7" || order.GetServedBy() != id {
			t.Errorf("Get: %v, error %v", order, err)
		}
		if order, err := client.Cancel(t.Context(), &orders.CancelRequest{Id: "7"}); err != nil || order.GetId() != "7" || order.GetServedBy() != id {
			t.Errorf("Cancel: %v, error %v", order, err)
		}
		if order, err := client.Place(t.Context(), &orders.PlaceRequest{Item: "tea"}); err != nil || order.GetItem() != "tea" || order.GetServedBy() != id {
			t.Errorf("Place: %v, error %v", order, err)
		}
		stream, err := client.Import(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := stream.Send(&orders.PlaceRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		if reply, err := stream.CloseAndRecv(); err != nil || reply.GetCount() != 3 {
			t.Errorf("Import: %v, error %v", reply, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		watch, err := client.Watch(ctx, &orders.GetRequest{Id: "7"})
		if err != nil {
			t.Fatal(err)
		}
		if order, err := watch.Recv(); err != nil || order.GetServedBy() != id {
			t.Errorf("Watch: %v, error %v", order, err)
		}
		if _, err := watch.Recv(); err == nil || err == io.EOF {
			t.Errorf("Watch: %v: want it to last", err)
		}
		if n := cluster.Instance(1).Calls(); n != 5 || cluster.Instance(0).Calls() != 0 || cluster.Instance(1).Dials() != 1 {
			t.Errorf("%d calls over %d connections: want 5 over 1, all here", n, cluster.Instance(1).Dials())
		}
	})
}

// Each fault does what it says, and ends when it is told to.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name         string
		begin, end   func(*surecalltest.Instance)
		code         codes.Code
		takes, after time.Duration
	}{
		{
			name: "Hang", begin: (*surecalltest.Instance).Hang, end: (*surecalltest.Instance).Resume,
			code: codes.DeadlineExceeded, takes: time.Second,
		},
		{
			name: "BlackHole", begin: (*surecalltest.Instance).BlackHole, end: (*surecalltest.Instance).Resume,
			code: codes.DeadlineExceeded, takes: time.Second,
		},
		{
			name: "Delay", begin: func(i *surecalltest.Instance) { i.Delay(300 * time.Millisecond) },
			end: func(i *surecalltest.Instance) { i.Delay(0) }, takes: 300 * time.Millisecond,
		},
		{
			name: "DelaySome", begin: func(i *surecalltest.Instance) { i.DelaySome(1, 300*time.Millisecond) },
			end: func(i *surecalltest.Instance) { i.DelaySome(0, time.Hour) }, takes: 300 * time.Millisecond,
		},
		{
			name: "DelayFunc", begin: func(i *surecalltest.Instance) {
				i.DelayFunc(func(_ string, call int64) time.Duration { return time.Duration(call) * time.Millisecond })
			},
			end: func(i *surecalltest.Instance) { i.DelayFunc(nil) }, takes: 2 * time.Millisecond,
		},
		{
			name: "Fail", begin: func(i *surecalltest.Instance) { i.Fail(codes.Aborted) },
			end: func(i *surecalltest.Instance) { i.Fail(codes.OK) }, code: codes.Aborted,
		},
		{
			name: "FailSome", begin: func(i *surecalltest.Instance) { i.FailSome(1, codes.Aborted) },
			end: func(i *surecalltest.Instance) { i.FailSome(0, codes.Aborted) }, code: codes.Aborted,
		},
		{
			name: "LoseAnswers", begin: func(i *surecalltest.Instance) { i.LoseAnswers(1) },
			end: func(i *surecalltest.Instance) { i.LoseAnswers(0) }, code: codes.Unavailable,
		},
		{
			name: "KillAfter", begin: func(i *surecalltest.Instance) { i.KillAfter(1) }, end: (*surecalltest.Instance).Start,
			code: codes.Unavailable, after: 3 * time.Second,
		},
		{
			name: "Leave", begin: (*surecalltest.Instance).Leave, end: (*surecalltest.Instance).Start,
			code: codes.Unavailable, after: 3 * time.Second,
		},
		{
			name: "Capacity", begin: func(i *surecalltest.Instance) {
				i.Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: 200 * time.Millisecond})
			},
			end: func(i *surecalltest.Instance) { i.Capacity(surecalltest.Capacity{}) }, takes: 200 * time.Millisecond,
		},
		{
			name: "FailFunc", begin: func(i *surecalltest.Instance) {
				i.FailFunc(func(method string, call int64) error {
					return status.Errorf(codes.DataLoss, "%s %d", method, call)
				})
			},
			end: func(i *surecalltest.Instance) { i.FailFunc(nil) }, code: codes.DataLoss,
		},
		{name: "Kill", begin: (*surecalltest.Instance).Kill, end: (*surecalltest.Instance).Start, code: codes.Unavailable, after: 3 * time.Second},
		{name: "Stop", begin: (*surecalltest.Instance).Stop, end: (*surecalltest.Instance).Start, code: codes.Unavailable, after: 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				client := direct(t, cluster, 0)
				call := func() (time.Duration, error) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					began := time.Now()
					_, err := client.Get(ctx, &orders.GetRequest{})
					return time.Since(began), err
				}
				if took, err := call(); took != 0 || err != nil {
					t.Errorf("before: %v after %v", err, took)
				}
				test.begin(cluster.Instance(0))
				if took, err := call(); took != test.takes || status.Code(err) != test.code {
					t.Errorf("during: %v after %v: want %v after %v", err, took, test.code, test.takes)
				}
				test.end(cluster.Instance(0))
				time.Sleep(test.after)
				if took, err := call(); took != 0 || err != nil {
					t.Errorf("after: %v after %v", err, took)
				}
			})
		})
	}
}

// Resume answers what Hang held.
func TestResumeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := direct(t, cluster, 0)
		if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil { // connects
			t.Fatal(err)
		}
		cluster.Instance(0).Hang()
		cluster.Instance(0).Hang() // again does nothing
		time.AfterFunc(time.Minute, cluster.Instance(0).Resume)
		began := time.Now()
		if _, err := client.Get(t.Context(), &orders.GetRequest{}); err != nil || time.Since(began) != time.Minute {
			t.Errorf("error %v after %v: want an answer after a minute", err, time.Since(began))
		}
	})
}

// Stop waits for the calls in flight, Kill does not.
func TestStopIsGraceful(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 1)
			client := direct(t, cluster, 0)
			cluster.Instance(0).Delay(time.Second)
			ended := make(chan error)
			go func() {
				_, err := client.Get(t.Context(), &orders.GetRequest{})
				ended <- err
			}()
			time.Sleep(time.Millisecond)
			if graceful {
				go cluster.Instance(0).Stop()
			} else {
				go cluster.Instance(0).Kill()
			}
			if err := <-ended; (err == nil) != graceful {
				t.Errorf("graceful: %v, the call in flight: %v", graceful, err)
			}
			synctest.Wait()
		})
	}
}

func TestRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		if set := listed(t, cluster); len(set) != 2 {
			t.Errorf("listed: %v: want 2", set)
		}
		added := cluster.Add()
		if set := listed(t, cluster); len(set) != 3 || len(cluster.Instances()) != 3 || cluster.Instance(2) != added {
			t.Errorf("listed: %v: want the third too", set)
		}
		cluster.Instance(0).Delist()
		if set := listed(t, cluster); len(set) != 2 || len(cluster.Instances()) != 3 {
			t.Errorf("listed: %v: want all but the first", set)
		}
		if _, err := direct(t, cluster, 0).Get(t.Context(), &orders.GetRequest{}); err != nil {
			t.Errorf("a delisted instance: %v: want it to run", err)
		}
		cluster.EmptyList()
		if set := listed(t, cluster); len(set) != 0 {
			t.Errorf("listed: %v: want an empty list", set)
		}
		cluster.Instance(0).List()
		cluster.Relist()
		if set := listed(t, cluster); len(set) != 3 {
			t.Errorf("listed: %v: want all again", set)
		}
		down := errors.New("no leader")
		cluster.SourceDown(down)
		if s := snapshot(t, cluster); !errors.Is(s.Err, down) {
			t.Errorf("the source says %v: want %v", s.Err, down)
		}
		cluster.SourceUp()
		cluster.Instance(0).Change(func(i *discovery.Instance) { i.Weight = 7 })
		weights := 0
		for _, i := range listed(t, cluster) {
			weights += i.Weight
		}
		if weights != 9 {
			t.Errorf("sum of weights %d: want 7, 1 and 1", weights)
		}
		if _, err := cluster.Dial(t.Context(), "10.9.9.9:80"); err == nil {
			t.Error("an unknown address: want an error")
		}
	})
}
