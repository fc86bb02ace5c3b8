package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/examples/orders"
)

// controlID is what the plain-gRPC control asks for; its calls are not counted.
const controlID = "control"

// behaviour is how the handlers answer.
type behaviour struct {
	delay    time.Duration // of a unary call
	stream   time.Duration // from a stream's first message to its end
	messages int           // of a stream
	fail     string        // "always" or "half" of the calls are answered UNAVAILABLE
	cold     time.Duration // after the process began, in which every answer takes chill more
}

// chill is what an answer takes more while an instance is cold.
const chill = 800 * time.Millisecond

type handler struct {
	orders.UnimplementedOrdersServer
	behaviour
	id      string
	counter *counter.Counter
	born    time.Time
	newest  atomic.Int64 // when the last attempt that counts arrived: since born
}

// arrive notes that an attempt came, and returns how many have.
func (h *handler) arrive(count *counter.Calls) int64 {
	h.newest.Store(int64(time.Since(h.born)))
	return count.Received.Add(1)
}

// warmth is what an answer takes more at this time.
func (h *handler) warmth() time.Duration {
	if time.Since(h.born) < h.cold {
		return chill
	}
	return 0
}

// Get is idempotent.
func (h *handler) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return h.answer(ctx, &h.counter.Get, r.GetId(), func() *orders.Order {
		return &orders.Order{Id: r.GetId(), ServedBy: h.id}
	})
}

// Place is not: each item is noted, so that one placed twice shows.
func (h *handler) Place(ctx context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	if r.GetItem() != controlID {
		n, err := strconv.Atoi(r.GetItem())
		if err != nil || !h.counter.Place(n) {
			return nil, status.Errorf(codes.InvalidArgument, "item %q: want a number below %d", r.GetItem(), counter.Items)
		}
	}
	return h.answer(ctx, &h.counter.Placed, r.GetItem(), func() *orders.Order {
		return &orders.Order{Item: r.GetItem(), ServedBy: h.id}
	})
}

// answer is a unary call of both kinds.
func (h *handler) answer(ctx context.Context, count *counter.Calls, id string, order func() *orders.Order) (*orders.Order, error) {
	counted := id != controlID
	n := int64(0)
	if counted {
		n = h.arrive(count)
	}
	if err := pause(ctx, h.delay+h.warmth()); err != nil {
		return nil, err
	}
	if h.fails(n) {
		return nil, errTold
	}
	if counted {
		count.Answered.Add(1)
	}
	return order(), nil
}

// Watch sends its messages evenly over its time, the first at once. Each says in Item
// which of how many it is.
func (h *handler) Watch(r *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	counted := r.GetId() != controlID
	n := int64(0)
	if counted {
		n = h.arrive(&h.counter.Watch)
	}
	if h.fails(n) {
		return errTold
	}
	if err := pause(stream.Context(), h.warmth()); err != nil {
		return err
	}
	for m := range h.messages {
		if err := stream.Send(&orders.Order{Id: r.GetId(), Item: fmt.Sprintf("%d/%d", m+1, h.messages), ServedBy: h.id}); err != nil {
			return err
		}
		if err := pause(stream.Context(), h.stream/time.Duration(h.messages)); err != nil {
			return err
		}
	}
	if counted {
		h.counter.Watch.Answered.Add(1)
	}
	return nil
}

var errTold = status.Error(codes.Unavailable, "told to fail")

func (h *handler) fails(n int64) bool { return h.fail == "always" || h.fail == "half" && n%2 == 0 }

// pause waits for d or the end of ctx, and returns the error of that.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// denyHealth and its twin stand for the authentication that many servers put in front of
// everything, health checks included.
func denyHealth(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if isHealth(info.FullMethod) {
		return nil, errNoToken
	}
	return next(ctx, req)
}

func denyHealthStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if isHealth(info.FullMethod) {
		return errNoToken
	}
	return next(srv, stream)
}

var errNoToken = status.Error(codes.Unauthenticated, "no token")

func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }
