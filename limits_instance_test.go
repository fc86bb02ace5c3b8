package surecall_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// A full instance is passed over; if all are full the call is rejected, and so is one that
// is pinned to a full one. No instance has more than its limit at any time.
func TestInstanceLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(), surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 2}))
		c := newCrowd(t, cluster, client)
		pinned := surecall.Pin(t.Context(), cluster.Instance(0).ID())
		if n := c.add(pinned, 4, placeMethod); n != 2 {
			t.Errorf("%d calls found room on the instance they are pinned to: want 2", n)
		}
		if n := c.add(t.Context(), 6, placeMethod); n != 4 {
			t.Errorf("%d found room: want those of the two others", n)
		}
		for n, err := range c.ended() {
			r := wantRejection(t, err, surecall.ErrConcurrency, codes.ResourceExhausted, `surecall: concurrency limit of "orders", /orders.v1.Orders/Place: limit: concurrency limit reached: 3 known, 3 eligible; `, " at their limit")
			if pinned := n < 2; r.Full < 1 || (r.Pinned == cluster.Instance(0).ID()) != pinned {
				t.Errorf("error %+v: want how many are full, and to whom the call was pinned", r)
			}
		}
		advance(20 * time.Millisecond) // the fleet describes itself at most each 10 ms
		if err := client.Update(surecall.WithCallDeadline(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := c.add(t.Context(), 1, placeMethod); n != 0 {
			t.Errorf("%d found room after an Update of something else", n)
		}
		if ended := c.ended(); !strings.Contains(ended[len(ended)-1].Error(), "3 at their limit") {
			t.Errorf("error %v: want all three at their limit", ended[len(ended)-1])
		}
		c.disperse()
		for _, i := range cluster.Instances() {
			if i.Peak() != 2 {
				t.Errorf("%s had %d calls at once: want 2", i.ID(), i.Peak())
			}
		}
		if err := client.Update(surecall.WithoutInstanceConcurrency()); err != nil {
			t.Fatal(err)
		}
		c = newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 20, placeMethod); n != 20 {
			t.Errorf("%d of 20 found room without the limit", n)
		}
		c.disperse()
	})
}

// An adaptive limit learns from how attempts end: of an instance that can take less than it
// is asked for, of a pattern's methods, of the client.
func TestAdaptiveLimitsLearn(t *testing.T) {
	adaptive := limit.Concurrency{Adaptive: limit.Adaptive{On: true, Initial: 100}}
	for name, option := range map[string]surecall.Option{
		"client":   surecall.WithConcurrency(adaptive),
		"pattern":  surecall.ForMethod("/orders.v1.Orders/*", surecall.WithConcurrency(adaptive)),
		"instance": surecall.WithInstanceConcurrency(adaptive),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 1)
				cluster.Instance(0).Capacity(surecalltest.Capacity{Workers: 2, ServiceTime: 20 * time.Millisecond, Bound: 4})
				client := ready(t, cluster, option, surecall.WithoutRetry(), surecall.WithoutAttemptTimeout())
				var calls sync.WaitGroup
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				for range 20 { // they come again after 30 ms: 670 calls per second
					calls.Go(func() {
						for ctx.Err() == nil {
							_, _ = unary(ctx, client, placeMethod)
							advance(30 * time.Millisecond)
						}
					})
				}
				advance(3 * time.Second)
				before, learned := cluster.Calls(), client.Instances()[0].Limit
				advance(time.Second)
				if name == "instance" && (learned < 2 || learned > 15) {
					t.Errorf("limit %d of the instance: want it to have learned that 2 workers are there", learned)
				}
				if n := cluster.Calls() - before; n > 400 {
					t.Errorf("%d attempts in a second reach a server that can answer 100: want the others held back", n)
				}
				stop()
				calls.Wait()
			})
		})
	}
}

// A message that is too large to be sent says nothing of how much a service can take. It
// used to count as RESOURCE_EXHAUSTED, and a caller's one mistake held all others back.
func TestTooLargeIsNoOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(),
			surecall.WithConcurrency(limit.Concurrency{Adaptive: limit.Adaptive{On: true, Initial: 20}}),
			surecall.WithInstanceConcurrency(limit.Concurrency{Adaptive: limit.Adaptive{On: true, Initial: 20}}))
		for range 500 {
			_, err := unary(t.Context(), client, placeMethod, grpc.MaxCallSendMsgSize(1))
			if status.Code(err) != codes.ResourceExhausted || cluster.Calls() > 0 {
				t.Fatalf("error %v, %d calls arrived: want gRPC's own RESOURCE_EXHAUSTED", err, cluster.Calls())
			}
			advance(5 * time.Millisecond)
		}
		if n := client.Instances()[0].Limit; n < 20 {
			t.Errorf("limit %d of the instance: want 20", n)
		}
		c := newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 19, placeMethod); n != 19 {
			t.Errorf("%d of 19 found room under a limit of 20", n)
		}
		c.disperse()
	})
}

// A call that is pinned to an instance without a connection is told so, also while others
// are full.
func TestPinnedToNobodyWhileOthersAreFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(), surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1}))
		cluster.Instance(1).Kill()
		advance(5 * time.Second)
		c := newCrowd(t, cluster, client)
		if n := c.add(t.Context(), 1, placeMethod); n != 1 {
			t.Fatal("no room")
		}
		_, err := unary(surecall.Pin(t.Context(), cluster.Instance(1).ID()), client, placeMethod)
		wantRejection(t, err, surecall.ErrNoInstance, codes.Unavailable, `instance "orders-2" of "orders", to which the call is pinned, has no connection`)
		c.disperse()
	})
}
