package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/surecall/surecall/examples/orders"
)

const (
	deadline   = time.Second            // of each call
	slow       = 250 * time.Millisecond // latencies above it are counted
	placeEvery = 20                     // so many calls of Get to one of Place

	get   = orders.Orders_Get_FullMethodName
	place = orders.Orders_Place_FullMethodName
)

// load makes calls at fixed times, whether or not earlier ones have ended: a caller that
// waits for slow calls would hide how many there would have been. All times count from
// its start.
type load struct {
	orders  orders.OrdersClient
	wire    *wire
	start   time.Time
	running sync.WaitGroup

	mu    sync.Mutex
	calls []call
}

// call is how one call went.
type call struct {
	method     string
	due, ended time.Duration
	servedBy   string // ID; empty if the call failed
	err        error
}

// latency counts from when the call was due: a late start is a wait too.
func (c call) latency() time.Duration { return c.ended - c.due }

func newLoad(conn grpc.ClientConnInterface, w *wire) *load {
	return &load{orders: orders.NewOrdersClient(conn), wire: w}
}

// begin makes perSecond calls of Get a second, and some of Place, until ctx ends.
func (l *load) begin(ctx context.Context, start time.Time, perSecond int) {
	l.start, l.wire.start = start, start
	l.every(ctx, time.Second/time.Duration(perSecond), get, func(ctx context.Context, n int) (*orders.Order, error) {
		return l.orders.Get(ctx, &orders.GetRequest{Id: strconv.Itoa(n)})
	})
	l.every(ctx, placeEvery*time.Second/time.Duration(perSecond), place, func(ctx context.Context, n int) (*orders.Order, error) {
		return l.orders.Place(ctx, &orders.PlaceRequest{Item: strconv.Itoa(n)})
	})
}

// every makes a call each period.
func (l *load) every(ctx context.Context, period time.Duration, method string, one func(context.Context, int) (*orders.Order, error)) {
	l.running.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for n := 0; ; n++ {
			due := time.Duration(n) * period
			timer.Reset(time.Until(l.start.Add(due)))
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			l.running.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), deadline)
				defer cancel()
				order, err := one(ctx, n)
				l.add(call{method: method, due: due, ended: time.Since(l.start), servedBy: order.GetServedBy(), err: err})
			})
		}
	})
}

func (l *load) add(c call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

// wait returns when no call is in flight any more.
func (l *load) wait() { l.running.Wait() }

// since returns the calls that ended after the first n.
func (l *load) since(n int) []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[n:len(l.calls):len(l.calls)]
}

// wire notes each attempt that leaves the process, with gRPC's own hook: when, and
// whereto.
type wire struct {
	start time.Time
	mu    sync.Mutex
	sent  []attempt
}

type attempt struct {
	at      time.Duration
	address string
}

// HandleRPC implements [stats.Handler].
func (w *wire) HandleRPC(_ context.Context, s stats.RPCStats) {
	header, ok := s.(*stats.OutHeader)
	if !ok || header.FullMethod != get {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, attempt{time.Since(w.start), header.RemoteAddr.String()})
}

// to returns when attempts were sent to address within from..to.
func (w *wire) to(address string, from, to time.Duration) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var times []time.Duration
	for _, a := range w.sent {
		if a.address == address && a.at >= from && a.at < to {
			times = append(times, a.at)
		}
	}
	return times
}

// TagRPC implements [stats.Handler].
func (*wire) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements [stats.Handler].
func (*wire) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (*wire) HandleConn(context.Context, stats.ConnStats) {}
