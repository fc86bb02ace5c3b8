package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// pause is the least time between two openings of the stream: the only instance left may
// be one that leaves.
const pause = 500 * time.Millisecond

// watch follows one order for as long as the program runs, on one instance after the
// other.
type watch struct {
	orders orders.OrdersClient
	id     string

	mu            sync.Mutex
	on            string // the instance that serves the stream; empty: none
	moved, broken int
}

// run opens the stream, and opens it again when its instance leaves or when it broke.
func (w *watch) run(ctx context.Context) {
	var reading sync.WaitGroup
	defer reading.Wait()
	closeOld := func() {}
	defer func() { closeOld() }()
	for ctx.Err() == nil {
		again := time.NewTimer(pause)
		one, cancel := context.WithCancel(ctx)
		stream, err := w.open(one)
		closeOld() // not before another is open: no change in between is missed
		closeOld = cancel
		if err == nil {
			ended := make(chan error, 1)
			reading.Go(func() { ended <- read(stream) })
			select {
			case <-surecall.Leaving(stream.Context()):
				w.note("", &w.moved)
			case err = <-ended:
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return // the order will not change any more
		case err != nil && ctx.Err() == nil:
			w.note("", &w.broken)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// open returns when the order as it is has come: then a server is sure to have it.
func (w *watch) open(ctx context.Context) (grpc.ServerStreamingClient[orders.Order], error) {
	stream, err := w.orders.Watch(ctx, &orders.GetRequest{Id: w.id})
	if err != nil {
		return nil, err
	}
	order, err := stream.Recv()
	if err == nil {
		w.note(order.GetServedBy(), nil)
	}
	return stream, err
}

// read returns what ended the stream. A program with a use for the order has it here.
func read(stream grpc.ServerStreamingClient[orders.Order]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// note says where the stream is now, and counts.
func (w *watch) note(on string, count *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = on
	if count != nil {
		*count++
	}
}

func (w *watch) state() (on string, moved, broken int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.on, w.moved, w.broken
}
