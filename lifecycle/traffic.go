package lifecycle

import (
	"context"
	"strings"
	"sync/atomic"
	"time"
)

// The modes of a server as its calls meet them.
const (
	warming  uint32 = iota // calls over the in-process connection are the server's own
	open                   // calls are served
	draining               // calls are served, and told that the server leaves
	refusing               // calls whose refusal is sure to be understood are refused
)

// traffic counts the calls of a server. Calls touch nothing but atomics.
type traffic struct {
	mode    atomic.Uint32
	unary   atomic.Int64 // in flight
	streams atomic.Int64
	leaving atomic.Pointer[notice]

	born   time.Time
	newest atomic.Int64  // when the last call came, while draining: since born
	ebb    chan struct{} // holds a token when a call has ended while draining
}

// notice is closed when the server begins to leave.
type notice struct{ ch chan struct{} }

func newTraffic() *traffic {
	t := &traffic{born: time.Now(), ebb: make(chan struct{}, 1)}
	t.leaving.Store(&notice{make(chan struct{})})
	return t
}

// drain tells calls from now on that the server leaves.
func (t *traffic) drain(mode uint32) {
	t.newest.Store(int64(time.Since(t.born)))
	t.mode.Store(mode)
	close(t.leaving.Load().ch)
}

// lift takes that back.
func (t *traffic) lift() {
	t.leaving.Store(&notice{make(chan struct{})})
	t.mode.Store(open)
}

// begin counts a call in; counter is one of t's.
func (t *traffic) begin(counter *atomic.Int64) {
	counter.Add(1) // before the mode is read: whoever changes it then sees this call
	if t.mode.Load() >= draining {
		t.newest.Store(int64(time.Since(t.born)))
	}
}

// end counts it out.
func (t *traffic) end(counter *atomic.Int64) {
	counter.Add(-1)
	if t.mode.Load() >= draining {
		select {
		case t.ebb <- struct{}{}:
		default:
		}
	}
}

func (t *traffic) inFlight() int { return int(t.unary.Load() + t.streams.Load()) }

// settle waits until no call is in flight and none has come for quiet, or until ctx
// ends. It is for draining servers, and for one goroutine at a time.
func (t *traffic) settle(ctx context.Context, quiet time.Duration) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var over <-chan time.Time
		if t.inFlight() == 0 {
			left := quiet - (time.Since(t.born) - time.Duration(t.newest.Load()))
			if left <= 0 {
				return nil
			}
			timer.Reset(left)
			over = timer.C
		}
		select {
		case <-over:
		case <-t.ebb:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apart reports whether a method is the infrastructure's: its calls are neither counted
// nor refused, and the contexts of its streams end when gRPC stops. That ends a Watch of
// health; a stream of reflection, which waits for its caller instead, lasts until it is
// cut off.
func apart(method string) bool {
	rest, ok := strings.CutPrefix(method, "/grpc.")
	return ok && (strings.HasPrefix(rest, "health.v1.") || strings.HasPrefix(rest, "reflection.") || strings.HasPrefix(rest, "channelz."))
}
