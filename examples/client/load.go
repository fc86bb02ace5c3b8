package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/surecall/surecall/examples/orders"
)

const (
	known      = 1000 // orders that each server has from the start
	placeEvery = 10   // of so many calls one is a Place, the others are Gets
)

// load makes calls at fixed times, whether or not earlier ones have ended: a caller that
// waits for slow calls would hide how many there would have been.
type load struct {
	orders orders.OrdersClient
	start  time.Time

	mu     sync.Mutex
	recent tally // since the last take
	total  tally
}

// tally counts calls that ended.
type tally struct {
	calls, failed int
	slowest       time.Duration // counted from when a call was due
	lastErr       error
}

func (t *tally) add(took time.Duration, err error) {
	t.calls++
	t.slowest = max(t.slowest, took)
	if err != nil {
		t.failed++
		t.lastErr = err
	}
}

// run makes rate calls a second until ctx ends, and returns when the last has ended.
func (l *load) run(ctx context.Context, rate int) {
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := l.start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		inFlight.Go(func() {
			err := l.call(context.WithoutCancel(ctx), n) // begun calls come to their end
			l.add(time.Since(due), err)
		})
	}
}

// call makes the n-th call. It sets no deadline: surecall's is 5 s.
func (l *load) call(ctx context.Context, n int) (err error) {
	if n%placeEvery == placeEvery-1 {
		_, err = l.orders.Place(ctx, &orders.PlaceRequest{Item: "a book"})
	} else {
		_, err = l.orders.Get(ctx, &orders.GetRequest{Id: strconv.Itoa(n%known + 1)})
	}
	return err
}

func (l *load) add(took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent.add(took, err)
	l.total.add(took, err)
}

// take returns what ended since the last take.
func (l *load) take() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.recent
	l.recent = tally{}
	return t
}

func (l *load) all() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
