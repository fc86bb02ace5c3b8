package balancer

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/limit"
)

// Attempt is one try of a call on one instance. It travels as the context of that try:
// the picker reads from it what the call has tried and writes into it what it chose.
//
// gRPC may pick more than once for an attempt (a transparent retry): each pick takes
// the place of the one before, which it releases. An Attempt is used by one goroutine
// at a time, as gRPC's own stream is.
type Attempt struct {
	context.Context

	// Set by whoever makes the attempt.
	Fleet        *Fleet
	Prior        *Attempt       // the attempt before it, of the same call
	Retryable    bool           // another attempt may follow: may be an ejected instance's trial
	Stream       bool           // never a trial; its length is no latency
	WaitForReady bool           // waits rather than being refused
	Rotate       bool           // the service breaker's trial: whose turn it is, eligible or not
	Priority     limit.Priority // under the limits of instances; not looked at without any
	Route        *Route         // where the caller wants it to go; nil: anywhere
	// Patience is how long the attempt may wait with nothing received from its instance
	// before that one is suspected. 0: for ever.
	Patience time.Duration
	// Begun is when the attempt was handed to gRPC, on the fleet's clock. The first pick
	// follows at once and saves reading the clock again; 0: it has to.
	Begun int64

	// Written by the picker.
	instance    *Instance
	replaced    *replaced
	breaker     *breaker.Instance
	word        uint64 // the breaker's, at the pick
	trial       breaker.Trial
	judged      bool
	answered    bool // anything came back on it
	sent        bool // a stream was created: the server may have executed the call
	plain       bool // the choice was, and so nothing is asked of the instance: see plainPicker
	wouldRefuse bool // it was picked for that alone
	trailer     metadata.MD
	id          string
	done        func(balancer.DoneInfo)
	class       int            // of its patience; -1: it has none
	slot        *limit.Limiter // of the instance's limit that has a slot of it; nil: none
	among       int            // as many were in flight when it gave that back

	picked atomic.Int64             // when, on the fleet's clock
	on     atomic.Pointer[Instance] // where it is in flight
}

// Route is where the caller wants a call to go.
type Route struct {
	// Instance is the ID of the only one that may serve it, eligible or not, retries too;
	// empty: any. While that has no connection the call is refused, or waits if it waits
	// for ready.
	Instance string
	// Key stands for one instance of the active priority: that gets the call while it is
	// eligible, has room and was not tried, else the next in the key's own order; empty:
	// none. It has no say where Instance is set.
	Key string
}

// replaced is an instance that an earlier pick of the same attempt chose.
type replaced struct {
	instance *Instance
	next     *replaced
}

// TriedOn returns an attempt that has been on i, to be the Prior of one that is made
// while another is still there.
func TriedOn(i *Instance) *Attempt { return &Attempt{instance: i} }

type attemptKey struct{}

// Value returns the attempt itself to the picker, and all else from the caller's
// context.
func (a *Attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Instance returns the instance that was picked, or nil.
func (a *Attempt) Instance() *Instance { return a.instance }

// Named reports whether the attempt told the instance its ID, so that a refusal before
// executing it can be told.
func (a *Attempt) Named() bool { return a.id != "" }

// Executed reports whether the instance may have executed the attempt: a stream was
// created, and the server did not say that it refused the call unexecuted.
func (a *Attempt) Executed() bool {
	return a.sent && !a.marked(wire.Unexecuted)
}

// Repeated reports whether what came back was the answer to an earlier attempt of the
// call, from what the service has kept of it: it says nothing of the instance that sent
// it, and any other would send the same.
func (a *Attempt) Repeated() bool { return a.marked(wire.Repeated) }

// marked reports whether the trailer has a mark that is this attempt's own.
func (a *Attempt) marked(key string) bool {
	mark := a.trailer[key]
	return a.id != "" && len(mark) == 1 && mark[0] == a.id
}

// Answered reports whether the instance sent anything back, an error too.
func (a *Attempt) Answered() bool { return a.answered }

// InFlight returns the instance that has the attempt, or nil before and after. It may be
// called at any time.
func (a *Attempt) InFlight() *Instance { return a.on.Load() }

// Trailer returns the trailer of the attempt's last pick, once it is over.
func (a *Attempt) Trailer() metadata.MD { return a.trailer }

// tried reports whether this call has been on i.
func (a *Attempt) tried(i *Instance) bool {
	for p := a; p != nil; p = p.Prior {
		if p != a && p.instance == i {
			return true
		}
		for r := p.replaced; r != nil; r = r.next {
			if r.instance == i {
				return true
			}
		}
	}
	return false
}

// begin enters a pick. It returns what gRPC has to be told.
func (a *Attempt) begin(i *Instance, sc balancer.SubConn, trial breaker.Trial, now int64) balancer.PickResult {
	a.instance, a.trial = i, trial
	a.picked.Store(now)
	if a.breaker = i.breaker.Load(); a.breaker != nil {
		a.word = a.breaker.Word()
	}
	a.judged, a.sent, a.answered, a.trailer = false, false, false, nil
	a.on.Store(i)
	if a.class = -1; a.Stream {
		i.streams.Add(1)
	} else {
		if i.inFlight.Add(1) == 1 {
			i.latency.progress.Store(now)
		}
		if a.class = classOf(a.Patience); a.class >= 0 {
			a.Fleet.watch(i, a.class, a.Patience, now)
		}
	}
	if a.done == nil {
		a.done = a.finished
	}
	result := balancer.PickResult{SubConn: sc, Done: a.done}
	if i.info.Load().Lifecycle && !a.plain {
		a.id = strconv.FormatUint(a.Fleet.random(), 36)
		result.Metadata = metadata.MD{wire.AttemptID: {a.id}}
	}
	return result
}

// replace makes room for another pick of the same attempt.
func (a *Attempt) replace() {
	if a.instance == nil {
		return
	}
	a.release()
	a.Judge(breaker.Ignored)
	a.replaced = &replaced{a.instance, a.replaced}
	a.instance, a.id = nil, ""
}

// finished is gRPC's Done. A pick whose connection was gone (the zero DoneInfo) never
// happened: the instance was not tried.
func (a *Attempt) finished(info balancer.DoneInfo) {
	a.release()
	if info.Err == nil && !info.BytesSent {
		a.Judge(breaker.Ignored)
		a.instance, a.id = nil, ""
		return
	}
	a.sent, a.answered, a.trailer = info.BytesSent, info.BytesReceived, info.Trailer
	if a.id == "" {
		return
	}
	if a.marked(wire.Draining) {
		a.Fleet.drains(a.instance, a.Fleet.now())
	} else if info.Err == nil && a.answered && len(a.trailer[wire.Draining]) == 0 {
		a.Fleet.stays(a.instance, a.Picked())
	}
}

func (a *Attempt) release() {
	i := a.on.Swap(nil)
	if i == nil {
		return
	}
	a.leaveSlot()
	if a.Stream {
		i.streams.Add(-1)
		return
	}
	i.inFlight.Add(-1)
	if a.class >= 0 {
		i.patience[a.class].waiting.Add(-1)
	}
}

// Picked returns when the instance was picked, on the fleet's clock. It may be called at
// any time.
func (a *Attempt) Picked() int64 { return a.picked.Load() }

// IsTrial reports whether the attempt is the trial of an ejected instance. One that
// fails for whatever reason has not shown that the instance is back; ignored, it would
// be due again at once, and again.
func (a *Attempt) IsTrial() bool { return a.trial != (breaker.Trial{}) }

// Judge tells the instance's breaker what the attempt's end means for it, once per
// pick; later calls do nothing.
func (a *Attempt) Judge(v breaker.Verdict) {
	if a.judged || a.instance == nil || a.breaker == nil {
		return
	}
	a.judged = true
	if a.IsTrial() {
		a.trial.Done(v)
		return
	}
	a.breaker.Record(a.word, v)
}
