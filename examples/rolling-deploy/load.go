package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

const (
	deadline  = 5 * time.Second // of a unary call, and of a stream's first message
	placeEach = 4               // of so many unary calls one is a Place
	callsEach = 40              // so many unary calls to one stream
)

// load makes calls at fixed times, whether or not earlier ones have ended: a caller that
// waits for slow calls would hide how many there would have been.
type load struct {
	orders  orders.OrdersClient
	score   *score
	moves   bool // has a stream without end
	running sync.WaitGroup
}

func newLoad(conn grpc.ClientConnInterface, s *score, moves bool) *load {
	return &load{orders: orders.NewOrdersClient(conn), score: s, moves: moves}
}

func (l *load) begin(ctx context.Context, start time.Time, perSecond int) {
	period := time.Second / time.Duration(perSecond)
	n := 0
	l.every(ctx, start, period, func(due time.Time) {
		if n++; n%placeEach == 0 {
			l.running.Go(func() { l.place(due) })
		} else {
			l.running.Go(func() { l.get(due) })
		}
	})
	l.every(ctx, start, callsEach*period, func(due time.Time) {
		l.running.Go(func() { l.stream(due) })
	})
	if l.moves {
		l.running.Go(func() { l.longStream(ctx) })
	}
}

// every calls one at the end of each period.
func (l *load) every(ctx context.Context, start time.Time, period time.Duration, one func(due time.Time)) {
	l.running.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for n := 1; ; n++ {
			due := start.Add(time.Duration(n) * period)
			timer.Reset(time.Until(due))
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				one(due)
			}
		}
	})
}

func (l *load) get(due time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	_, err := l.orders.Get(ctx, &orders.GetRequest{Id: "1"})
	l.score.note(idempotent, due, outcome{failed: err})
}

func (l *load) place(due time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	_, err := l.orders.Place(ctx, &orders.PlaceRequest{Item: "a book"})
	l.score.note(notIdempotent, due, outcome{failed: err})
}

// stream reads a stream to its end.
func (l *load) stream(due time.Time) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := l.open(ctx, cancel, "1")
	first := time.Now()
	o := outcome{failed: err, at: first}
	for n := 1; o.failed == nil && o.broken == nil; n++ {
		if _, err := s.Recv(); errors.Is(err, io.EOF) && n == messages {
			break
		} else if err != nil {
			o.broken = fmt.Errorf("a stream ended after %d of %d messages: %w", n, messages, err)
		}
	}
	l.score.note(streams, due, o)
}

// open returns when the first message has come.
func (l *load) open(ctx context.Context, cancel func(), id string) (grpc.ServerStreamingClient[orders.Order], error) {
	late := time.AfterFunc(deadline, cancel)
	defer late.Stop()
	s, err := l.orders.Watch(ctx, &orders.GetRequest{Id: id})
	if err == nil {
		_, err = s.Recv()
	}
	return s, err
}

// longStream keeps a stream open until ctx ends. When its instance leaves it opens it on
// another one, and only then lets go of the old one.
func (l *load) longStream(ctx context.Context) {
	closeOld := func() {}
	defer func() { closeOld() }()
	for ctx.Err() == nil {
		due := time.Now()
		one, cancel := context.WithCancel(ctx)
		s, err := l.open(one, cancel, untilTold)
		o := outcome{failed: err, at: time.Now()}
		closeOld()
		closeOld = cancel
		if err == nil {
			o.broken = l.outlast(s)
		}
		if ctx.Err() != nil { // the end of the show is none of the stream's faults
			o.failed, o.broken = nil, nil
		}
		l.score.note(longStreams, due, o)
		if o.failed != nil || o.broken != nil {
			_ = sleep(ctx, settle)
		}
	}
}

// outlast reads s until its instance leaves. An error means that it came first.
func (l *load) outlast(s grpc.ServerStreamingClient[orders.Order]) error {
	ended := make(chan error, 1)
	l.running.Go(func() {
		for {
			if _, err := s.Recv(); err != nil {
				ended <- err
				return
			}
		}
	})
	select {
	case <-surecall.Leaving(s.Context()):
		return nil
	case err := <-ended:
		return fmt.Errorf("a long stream ended by itself: %w", err)
	}
}
