package main

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// moveTime is how long a caller has to move its stream when this server leaves.
const moveTime = time.Second

// service serves orders. Nothing in it knows of registries, draining or retries, but for
// the stream that lasts: it has to end when its server leaves.
type service struct {
	orders.UnimplementedOrdersServer
	store *store
	id    func() string
}

// Get has no side effects: it may be retried.
func (s *service) Get(_ context.Context, r *orders.GetRequest) (*orders.Order, error) {
	o, _, err := s.store.get(r.GetId())
	return s.answer(r.GetId(), o, err)
}

// Cancel answers a second time as it did the first time: that is what idempotent means.
func (s *service) Cancel(_ context.Context, r *orders.CancelRequest) (*orders.Order, error) {
	o, err := s.store.cancel(r.GetId())
	return s.answer(r.GetId(), o, err)
}

// Place makes a new order each time: callers never repeat it once it may have run.
func (s *service) Place(_ context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	if r.GetItem() == "" {
		return nil, status.Error(codes.InvalidArgument, "item is empty: want what to order")
	}
	id := s.store.place(r.GetItem())
	return s.answer(id, order{item: r.GetItem()}, nil)
}

// Watch sends the order as it is and each time that it changes, until it is cancelled.
func (s *service) Watch(r *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	ctx := stream.Context()
	for {
		o, changed, err := s.store.get(r.GetId())
		answer, err := s.answer(r.GetId(), o, err)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil || o.cancelled {
			return err
		}
		select {
		case <-changed:
		case <-lifecycle.Draining(ctx):
			return handOver(ctx)
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// handOver ends a stream whose server leaves. A caller that knows of it by itself
// (surecall.Leaving) opens the stream elsewhere and then cancels this one: it misses
// nothing. Any other is told after a while.
func handOver(ctx context.Context) error {
	timer := time.NewTimer(moveTime)
	defer timer.Stop()
	select {
	case <-timer.C:
		return status.Error(codes.Unavailable, "this instance is leaving: open the stream again")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// Import places orders one by one and answers with their number.
func (s *service) Import(stream grpc.ClientStreamingServer[orders.PlaceRequest, orders.ImportReply]) error {
	for count := int64(0); ; count++ {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&orders.ImportReply{Count: count})
		}
		if err != nil {
			return err
		}
		s.store.place(r.GetItem())
	}
}

func (s *service) answer(id string, o order, err error) (*orders.Order, error) {
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "order %q: %v", id, err)
	}
	return &orders.Order{Id: id, Item: o.String(), ServedBy: s.id()}, nil
}
