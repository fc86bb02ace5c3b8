package surecall_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// poisoned is an orders server on which a Get of one ID fails, wherever it goes.
type poisoned struct {
	orders.UnimplementedOrdersServer
	code codes.Code
}

func (s *poisoned) Get(_ context.Context, r *orders.GetRequest) (*orders.Order, error) {
	if r.GetId() == "poison" {
		return nil, status.Error(s.code, "choked")
	}
	return &orders.Order{Id: r.GetId()}, nil
}

func (*poisoned) Cancel(context.Context, *orders.CancelRequest) (*orders.Order, error) {
	return &orders.Order{}, nil
}

// One request makes every instance fail that gets it, and its caller sends it again and
// again, with retries to other instances. The fleet stays as it is, and other calls, of
// its method as of others, do not notice.
func TestPoisonEjectsNobody(t *testing.T) {
	for _, test := range []struct {
		name      string
		code      codes.Code
		instances int
		every     time.Duration // a poisonous request; others come each 10 ms
	}{
		{"UNAVAILABLE, now and then", codes.Unavailable, 4, 100 * time.Millisecond},
		{"UNAVAILABLE, more often than others", codes.Unavailable, 4, 3 * time.Millisecond},
		{"UNAVAILABLE, of two instances", codes.Unavailable, 2, 3 * time.Millisecond},
		{"INTERNAL, now and then", codes.Internal, 4, 100 * time.Millisecond},
		{"INTERNAL, more often than others", codes.Internal, 4, 3 * time.Millisecond},
		{"INTERNAL, of two instances", codes.Internal, 2, 3 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewClusterOf(t, test.instances, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
					orders.RegisterOrdersServer(s, &poisoned{code: test.code})
				}), &log{}
				client := ready(t, cluster, events.option())
				changes := len(eventsOf[event.InstanceChanged](events))
				ctx, stop := context.WithCancel(t.Context())
				var poisoner sync.WaitGroup
				poisoner.Go(func() { poison(ctx, t, client, test.every) })

				var others sync.WaitGroup
				for _, method := range []string{getMethod, cancelMethod} {
					others.Go(func() { wantAll(t, load(t, client, method, 20*time.Millisecond, 4*time.Second), 0) })
				}
				others.Wait()
				stop()
				poisoner.Wait()
				if changed := eventsOf[event.InstanceChanged](events)[changes:]; len(changed) > 0 {
					t.Errorf("%d instances changed, first %+v: want none", len(changed), changed[0])
				}
				if opened := eventsOf[event.ServiceBreakerChanged](events); len(opened) > 0 {
					t.Errorf("service breaker: %+v: want that it stays closed", opened)
				}
			})
		})
	}
}

// poison sends the poisonous request until ctx ends.
func poison(ctx context.Context, t *testing.T, client *surecall.Client, every time.Duration) {
	t.Helper()
	for ctx.Err() == nil {
		_, err := orders.NewOrdersClient(client).Get(context.WithoutCancel(ctx), &orders.GetRequest{Id: "poison"})
		if err == nil || status.Convert(err).Message() != "choked" {
			t.Errorf("error of the poisonous request: %v: want its server's", err)
		}
		advance(every)
	}
}
