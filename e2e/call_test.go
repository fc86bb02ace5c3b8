package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/examples/orders"
)

// method is one of the three kinds of call.
type method int

const (
	get   method = iota // unary, idempotent
	place               // unary, not idempotent: never executed twice
	watch               // a stream of the server's
	methods
)

func (m method) String() string {
	return [...]string{"Get (idempotent)", "Place (not idempotent)", "Watch (stream)"}[m]
}

// of returns what a server counted of the method.
func (m method) of(c *counter.Counter) *counter.Calls {
	return [...]*counter.Calls{&c.Get, &c.Placed, &c.Watch}[m]
}

// call is how one call went. Its times count from the zero of its load.
type call struct {
	method   method
	item     int // that it placed
	due      time.Duration
	begun    time.Duration
	answered time.Duration // the answer or the first message; if there was none, the end
	ended    time.Duration
	instance string // that answered
	broken   bool   // a stream that answered and failed before its end
	err      error
}

// latency is until the answer, of a stream until its first message.
func (c call) latency() time.Duration { return c.answered - c.due }

// call makes a call for what has the number n. No other call of m may have it.
func (l *load) call(m method, n int, due time.Time) {
	c := call{method: m, item: l.base + n, due: due.Sub(l.zero), begun: l.now()}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	id := strconv.Itoa(c.item)
	if l.control {
		id = "control"
	}
	switch m {
	case get:
		ctx, cancel := context.WithTimeout(ctx, l.deadline)
		defer cancel()
		order, err := l.client.Get(ctx, &orders.GetRequest{Id: id})
		c.instance, c.err = order.GetServedBy(), differs(err, order.GetId(), id)
	case place:
		ctx, cancel := context.WithTimeout(ctx, l.deadline)
		defer cancel()
		order, err := l.client.Place(ctx, &orders.PlaceRequest{Item: id})
		c.instance, c.err = order.GetServedBy(), differs(err, order.GetItem(), id)
	case watch:
		l.watch(ctx, cancel, id, &c)
	}
	c.ended = l.now()
	if c.answered == 0 {
		c.answered = c.ended
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(c)
}

// differs is err, or says that a call was answered with another's answer.
func differs(err error, got, want string) error {
	if err == nil && got != want {
		return fmt.Errorf("asked for %s, got %s", want, got)
	}
	return err
}

// watch receives a stream to its end. It gives up if a message does not come within the
// deadline; the server sends one five times as often.
func (l *load) watch(ctx context.Context, cancel context.CancelFunc, id string, c *call) {
	giveUp := time.AfterFunc(l.deadline, cancel)
	defer giveUp.Stop()
	stream, err := l.client.Watch(ctx, &orders.GetRequest{Id: id})
	if err != nil {
		c.err = err
		return
	}
	received, of := 0, 1
	for {
		order, err := stream.Recv()
		if errors.Is(err, io.EOF) && received == of {
			return
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the stream ended after message %d of %d", received, of)
		}
		if err == nil {
			_, scanErr := fmt.Sscanf(order.GetItem(), "%d/%d", &received, &of)
			err = differs(scanErr, order.GetId(), id)
		}
		if err != nil {
			c.err, c.broken = err, c.instance != ""
			return
		}
		if c.instance == "" {
			c.instance, c.answered = order.GetServedBy(), l.now()
		}
		giveUp.Reset(l.deadline)
	}
}
