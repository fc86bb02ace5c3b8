package surecall_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// talker is an orders server whose streams open and flow, and end a while later as told.
type talker struct {
	orders.UnimplementedOrdersServer
	end func() error
}

func (s *talker) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	if err := stream.Send(&orders.Order{}); err != nil {
		return err
	}
	if err := takes(stream.Context(), 100*time.Millisecond); err != nil {
		return err
	}
	return s.end()
}

// A stream's end, not its opening or its messages, decides its verdict: an instance whose
// streams open, flow and then break is ejected, and not before the first have ended. One
// whose streams end well, or are left by their callers, is not.
func TestStreamEndDecides(t *testing.T) {
	for _, test := range []struct {
		name    string
		end     error
		leave   time.Duration // the caller leaves then; 0: it stays
		ejected bool
	}{
		{"ends well", nil, 0, false},
		{"breaks", status.Error(codes.Unavailable, "broken"), 0, true},
		{"breaks, but its caller has left", status.Error(codes.Unavailable, "broken"), 50 * time.Millisecond, false},
		{"ends with an answer", status.Error(codes.NotFound, "gone"), 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var ends atomic.Int64
				cluster, events := surecalltest.NewClusterOf(t, 3, func(s grpc.ServiceRegistrar, i *surecalltest.Instance) {
					orders.RegisterOrdersServer(s, &talker{end: func() error {
						if i.ID() != "orders-1" {
							return nil
						}
						ends.Add(1)
						return test.end
					}})
				}), &log{}
				var endsBefore int64 // the ejection
				client := ready(t, cluster, events.option(), inTurn(), surecall.WithEvents(func(e event.Event) {
					if c, ok := e.(event.InstanceChanged); ok && c.To == event.Ejected {
						endsBefore = ends.Load()
					}
				}))
				for range 30 { // they overlap: ten are open at any time
					go watch(t, client, test.leave)
					advance(10 * time.Millisecond)
				}
				advance(time.Second)
				synctest.Wait()
				if ids := ejections(events); slices.Contains(ids, "orders-1") != test.ejected || len(ids) > 1 {
					t.Errorf("ejected %v: want the one whose streams end: %v", ids, test.ejected)
				}
				if test.ejected && endsBefore < 5 {
					t.Errorf("ejected after %d streams had ended: want the five of a run", endsBefore)
				}
			})
		})
	}
}

// watch opens a stream and receives until it ends, or until the caller leaves.
func watch(t *testing.T, client *surecall.Client, leave time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if leave > 0 {
		time.AfterFunc(leave, cancel)
	}
	stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := stream.Recv(); err != nil {
		t.Errorf("first message: %v", err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
}
