package e2e

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/examples/orders"
)

const (
	rate     = 400                    // calls a second of all methods together
	deadline = time.Second            // of a unary call, and of a stream's first message, from when it begins; latencies count from when it was due
	patience = 5 * time.Second        // the deadline where no instance hangs and no latency is judged, for a machine that stands still a second: the default of surecall
	slow     = 250 * time.Millisecond // latencies above it are counted

	placeRate = rate * 4 / 10 // of them place an item: see mix

	// loadItems bounds the items that one load places, of those that the servers know.
	loadItems = counter.Items / 16
)

// mix is what the calls of a load are: of ten, five are idempotent, four are not, and one
// is a stream. They are drawn, always in the same order, because turns would meet
// those of a balancer.
var mix = [...]method{get, get, get, get, get, place, place, place, place, watch}

// load issues calls at fixed times, whether or not earlier ones have ended: a caller
// that waits for slow calls would hide how many there would have been.
type load struct {
	zero     time.Time // all times count from it; loads to be summed up have the same
	client   orders.OrdersClient
	control  bool // its calls ask for control, and are not counted by the servers
	base     int  // of the items it places
	deadline time.Duration
	cancel   context.CancelFunc
	issuing  sync.WaitGroup
	inFlight sync.WaitGroup

	mu         sync.Mutex
	note       func(call) // called with mu; default: keeps it in calls
	calls      []call
	goroutines []sample
}

// sample is the number of goroutines of this process at one time.
type sample struct {
	at time.Duration
	n  int
}

// newLoad returns a load that issues nothing yet. For its arguments see startLoad.
func newLoad(conn grpc.ClientConnInterface, zero time.Time, number int) *load {
	l := &load{zero: zero, client: orders.NewOrdersClient(conn), control: number < 0, base: number * loadItems, deadline: deadline}
	l.note = func(c call) { l.calls = append(l.calls, c) }
	return l
}

// startLoad begins to issue perSecond calls a second on conn. Its times count from zero.
// Each load that places orders on the same servers needs a number of its own, from 0; a
// negative one makes it a control.
func startLoad(t *testing.T, conn grpc.ClientConnInterface, zero time.Time, perSecond, number int) *load {
	l := newLoad(conn, zero, number)
	l.start(t, perSecond)
	return l
}

// start begins to issue perSecond calls a second.
func (l *load) start(t *testing.T, perSecond int) {
	ctx, cancel := context.WithCancel(context.Background())
	begin := time.Now()
	l.cancel = cancel
	t.Cleanup(l.stop)
	l.issuing.Go(func() {
		draw := rand.New(rand.NewPCG(1, 2))
		var numbers [methods]int
		timer := time.NewTimer(0)
		defer timer.Stop()
		for n := 0; ; n++ {
			due := begin.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			m := mix[draw.IntN(len(mix))]
			timer.Reset(time.Until(due))
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			number := numbers[m]
			numbers[m]++
			l.inFlight.Go(func() { l.call(m, number, due) })
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
}

// now is the time since zero.
func (l *load) now() time.Duration { return time.Since(l.zero) }

// took returns the calls that have ended.
func (l *load) took() []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// stop ends the issuing and waits for the calls in flight. A second call does nothing.
func (l *load) stop() {
	l.cancel()
	l.issuing.Wait()
	l.inFlight.Wait()
}
