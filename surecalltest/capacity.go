package surecalltest

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Capacity is what a server can do, so that more than that overloads it. It answers
// Workers ÷ ServiceTime calls per second, and the others wait, first in, first out. The
// zero value is a server without bounds.
//
// A server that works on calls whose callers have left, as most do unless they look at
// their context at each step, collapses under overload: calls wait for longer than their
// callers do, and all its work is for nobody.
type Capacity struct {
	// Workers is how many calls are worked on at the same time. A unary call keeps its worker
	// until its handler has returned, delays included; a stream, while it opens.
	Workers int
	// ServiceTime is how long a worker takes for each call before its handler, which may add
	// its own. Default 0.
	ServiceTime time.Duration
	// Bound is the most calls that are inside, waiting ones and those worked on. Further ones
	// are shed at once, with RESOURCE_EXHAUSTED. At least Workers. Default no bound.
	Bound int
	// Pushback is when those that are shed are told to come back: in gRPC's trailer
	// grpc-retry-pushback-ms, to the millisecond, and in the status' detail
	// google.rpc.RetryInfo. Default: nothing is said.
	Pushback time.Duration
	// HeedsLeaving: a call whose caller has left leaves the queue at once, or its worker.
	// Default false: the work is done all the same.
	HeedsLeaving bool
}

// Capacity bounds what the instance can do, from now on: calls that are inside stay in the
// queue they are in. The zero Capacity takes the bounds away.
func (i *Instance) Capacity(c Capacity) {
	var q *queue
	switch {
	case c == (Capacity{}):
	case c.Workers < 1:
		i.cluster.errorf("Capacity Workers %d: want 1 or more", c.Workers)
		return
	case c.ServiceTime < 0:
		i.cluster.errorf("Capacity ServiceTime %v: want 0 or more", c.ServiceTime)
		return
	case c.Bound != 0 && c.Bound < c.Workers:
		i.cluster.errorf("Capacity Bound %d: want 0 (none), or at least the %d Workers", c.Bound, c.Workers)
		return
	case c.Pushback < 0 || c.Pushback > 0 && c.Bound == 0:
		i.cluster.errorf("Capacity Pushback %v: want 0 or more, and a Bound above which calls are shed", c.Pushback)
		return
	default:
		q = &queue{Capacity: c, workers: make(chan struct{}, c.Workers)}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.queue = q
}

// queue is a server's workers and the calls before them. nil is one without bounds.
type queue struct {
	Capacity
	workers chan struct{} // one token per call that is worked on; its senders wait in order
	inside  atomic.Int64
}

// enter returns when a worker has done its service time for the call. done ends it.
func (q *queue) enter(ctx context.Context, killed <-chan struct{}) (done func(), err error) {
	if q == nil {
		return func() {}, nil
	}
	if inside := q.inside.Add(1); q.Bound > 0 && inside > int64(q.Bound) {
		q.inside.Add(-1)
		return nil, q.shed(ctx)
	}
	var left <-chan struct{} // never, unless it heeds that
	if q.HeedsLeaving {
		left = ctx.Done()
	}
	select {
	case q.workers <- struct{}{}:
	case <-left:
		q.inside.Add(-1)
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-killed:
		q.inside.Add(-1)
		return nil, errKilled
	}
	done = func() {
		<-q.workers
		q.inside.Add(-1)
	}
	if !sleep(q.ServiceTime, left, killed) {
		done()
		return nil, status.Error(codes.Canceled, "nobody waits for the answer")
	}
	return done, nil
}

// shed is what a call gets above the bound.
func (q *queue) shed(ctx context.Context) error {
	s := status.Newf(codes.ResourceExhausted, "overloaded: %d calls inside", q.Bound)
	if q.Pushback == 0 {
		return s.Err()
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(q.Pushback.Milliseconds(), 10)))
	if told, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(q.Pushback)}); err == nil {
		s = told
	}
	return s.Err()
}
