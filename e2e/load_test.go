package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/examples/orders"
)

const (
	rate     = 400                    // calls a second
	deadline = time.Second            // of a call, from when it begins; its latency counts from when it was due
	slow     = 250 * time.Millisecond // latencies above it are counted
)

// load issues calls at fixed times, whether or not earlier ones have ended: a caller
// that waits for slow calls would hide how many there would have been.
type load struct {
	start    time.Time
	cancel   context.CancelFunc
	issuing  sync.WaitGroup
	inFlight sync.WaitGroup

	mu         sync.Mutex
	calls      []call
	goroutines []sample
}

// call is how one call went. Its times count from the start of the load.
type call struct {
	due, begun, ended time.Duration
	instance          string // that answered
	err               error
}

func (c call) latency() time.Duration { return c.ended - c.due }

// sample is the number of goroutines of this process at one time.
type sample struct {
	at time.Duration
	n  int
}

// startLoad begins to issue perSecond calls a second on conn. id is what they ask
// for; empty means the number of the call.
func startLoad(t *testing.T, conn grpc.ClientConnInterface, perSecond int, id string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{start: time.Now(), cancel: cancel}
	t.Cleanup(l.stop)
	client := orders.NewOrdersClient(conn)
	l.issuing.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for n := 0; ; n++ {
			due := l.start.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			timer.Reset(time.Until(due))
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			l.inFlight.Go(func() { l.call(client, due, cmp.Or(id, strconv.Itoa(n))) })
		}
	})
	l.issuing.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				l.mu.Lock()
				l.goroutines = append(l.goroutines, sample{l.now(), runtime.NumGoroutine()})
				l.mu.Unlock()
			}
		}
	})
	return l
}

func (l *load) call(client orders.OrdersClient, due time.Time, id string) {
	begun := l.now()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	order, err := client.Get(ctx, &orders.GetRequest{Id: id})
	if err == nil && order.GetId() != id {
		err = fmt.Errorf("asked for %s, got %s", id, order.GetId())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, call{due.Sub(l.start), begun, l.now(), order.GetServedBy(), err})
}

// now is the time since the start of the load.
func (l *load) now() time.Duration { return time.Since(l.start) }

// stop ends the issuing and waits for the calls in flight. A second call does nothing.
func (l *load) stop() {
	l.cancel()
	l.issuing.Wait()
	l.inFlight.Wait()
}

// outcome is what a load saw between two times.
type outcome struct {
	issued, ok, slow int
	failed           []call
	slowest          call
	late             time.Duration // the most a call began after it was due: the machine's doing
	byInstance       map[string]int
}

// between sums up the calls that were due from..to. The load must have stopped, or to
// must lie more than a deadline back.
func (l *load) between(from, to time.Duration) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := outcome{byInstance: map[string]int{}}
	for _, c := range l.calls {
		if c.due < from || c.due >= to {
			continue
		}
		o.issued++
		o.late = max(o.late, c.begun-c.due)
		if c.latency() > o.slowest.latency() {
			o.slowest = c
		}
		if c.latency() > slow {
			o.slow++
		}
		if c.err != nil {
			o.failed = append(o.failed, c)
			continue
		}
		o.ok++
		o.byInstance[c.instance]++
	}
	slices.SortFunc(o.failed, func(a, b call) int { return cmp.Compare(a.due, b.due) })
	return o
}

// all sums up everything.
func (l *load) all() outcome { return l.between(0, time.Hour) }

func (o outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d calls, %d failed, %d above %v, slowest %v (due at %v), begun late by up to %v",
		o.issued, len(o.failed), o.slow, slow, round(o.slowest.latency()), round(o.slowest.due), round(o.late))
	for _, id := range slices.Sorted(maps.Keys(o.byInstance)) {
		fmt.Fprintf(&b, ", %s %d", id, o.byInstance[id])
	}
	for i, c := range o.failed {
		if i == 5 {
			fmt.Fprintf(&b, "\n  … and %d more", len(o.failed)-i)
			break
		}
		fmt.Fprintf(&b, "\n  failed: due at %v, after %v: %v", round(c.due), round(c.latency()), c.err)
	}
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
