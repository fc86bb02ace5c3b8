package surecalltest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/surecalltest"
)

// All of it works outside a bubble too, and from several goroutines at once. When it is
// over, all instances answer.
func TestInRealTime(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 2)
	managed := cluster.AddLifecycle(lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond})
	client := orders.NewOrdersClient(cluster.Client())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for ctx.Err() == nil {
				_, _ = client.Get(t.Context(), &orders.GetRequest{})
			}
		})
	}
	some := []*surecalltest.Instance{cluster.Instance(0), managed}
	var faults sync.WaitGroup
	for _, i := range some {
		faults.Go(func() {
			for _, fault := range []func(){
				i.Hang, i.Resume, i.BlackHole, i.Resume, i.Kill, i.Start, i.Stop, i.Start,
				func() { i.DelaySome(0.5, time.Millisecond) }, func() { i.FailSome(0.5, codes.Unavailable) },
				func() { i.LoseAnswers(0.1) }, func() { i.KillAfter(2) }, i.Start,
				func() { i.Capacity(surecalltest.Capacity{Workers: 1, ServiceTime: time.Millisecond, Bound: 2}) },
				cluster.EmptyList, func() { cluster.SourceDown(errors.New("no leader")) }, cluster.Relist, cluster.SourceUp,
				func() { i.Serving(false) }, func() { i.Serving(true) },
				func() { i.FailSome(0, codes.OK) }, func() { i.LoseAnswers(0) }, func() { i.KillAfter(0) },
				func() { i.Capacity(surecalltest.Capacity{}) }, i.Leave, i.Start, i.List,
			} {
				fault()
				for range 5 {
					_, _ = client.Get(t.Context(), &orders.GetRequest{})
				}
			}
		})
	}
	faults.Wait()
	stop()
	calls.Wait()
	for n := range cluster.Instances() {
		if _, err := direct(t, cluster, n).Get(t.Context(), &orders.GetRequest{}); err != nil {
			t.Error(err)
		}
	}
	if cluster.Calls() < 100 || len(listed(t, cluster)) != 3 {
		t.Errorf("%d calls, %d listed: want hundreds, and 3", cluster.Calls(), len(listed(t, cluster)))
	}
}
