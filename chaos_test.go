package surecall_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// Whatever happens to the instances of two datacenters, in whatever order: when it is over
// all of the near one serve, those of the far one stand by, and no call fails.
func TestChaosLeavesNothingBehind(t *testing.T) {
	for seed, opts := range [][]surecall.Option{
		nil,
		{surecall.WithActiveProbe(2 * time.Second)},
		{surecall.WithoutHealthWatch()},
		{surecall.WithIdleTimeout(3 * time.Second)},
	} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { chaos(t, uint64(seed), opts...) })
		})
	}
}

func chaos(t *testing.T, seed uint64, opts ...surecall.Option) {
	const near, far = 6, 4
	random := rand.New(rand.NewPCG(seed, 7))
	cluster := surecalltest.NewCluster(t, near+far)
	client, source := nearAndFar(t, cluster, near, opts...)
	all := listed(cluster.Instances()[:near])

	ctx, stop := context.WithCancel(t.Context())
	for _, method := range []string{getMethod, getMethod, getMethod, placeMethod} {
		go func() {
			for ctx.Err() == nil {
				ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
				_, _ = unary(ctx, client, method)
				cancel()
				advance(200 * time.Millisecond)
			}
		}()
	}
	for range 60 {
		i := cluster.Instance(random.IntN(near + far))
		switch random.IntN(10) {
		case 0, 1:
			i.Hang()
		case 2, 3:
			i.Resume()
		case 4:
			i.Resume()
			i.Kill()
		case 5:
			i.Start()
		case 6:
			i.Serving(random.IntN(2) == 0)
		case 7:
			i.Fail([]codes.Code{codes.OK, codes.Unavailable}[random.IntN(2)])
		case 8:
			some := slices.Clone(all)
			random.Shuffle(near, func(a, b int) { some[a], some[b] = some[b], some[a] })
			source["near"].Set(surecalltest.Service, some[:random.IntN(near+1)]...)
		case 9:
			i.Delay([]time.Duration{0, 0, 80 * time.Millisecond, 2 * time.Second}[random.IntN(4)])
		}
		advance(time.Duration(random.IntN(1500)) * time.Millisecond)
	}
	stop()

	for _, i := range cluster.Instances() {
		i.Resume()
		i.Start()
		i.Serving(true)
		i.Fail(codes.OK)
		i.Delay(0)
	}
	source["near"].Set(surecalltest.Service, all...)
	for range 420 / 2 { // the longest ejection, and as long as connections are kept for
		_, _ = unary(t.Context(), client, getMethod)
		advance(2 * time.Second)
	}
	for n, i := range cluster.Instances() {
		want := event.Eligible
		if n >= near {
			want = event.Standby
		}
		if got := stateOf(client, i.ID()); got != want {
			t.Errorf("seed %d: state of %s when all is over: %v: want %v", seed, i.ID(), got, want)
		}
	}
	if n := failures(load(t, client, getMethod, 10*time.Millisecond, time.Second)); n > 0 {
		t.Errorf("seed %d: %d of 100 calls failed when all was over", seed, n)
	}
}
