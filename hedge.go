package surecall

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/event"
)

// hedge is the attempt that may be sent beside a call's first. It has a reply, options
// and a context of its own, so that nothing is written by both. It runs on the goroutine
// of its alarm; the call's own waits for it before it returns.
//
//	waiting ──▶ off        the first attempt ended before its time was over
//	   │
//	   └──────▶ begun ──▶ over (done is closed)
type hedge struct {
	second  unaryAttempt
	beside  *unaryAttempt // the first
	delay   time.Duration
	replies protoreflect.MessageType
	rpc     rpc
	start   sync.Mutex   // held while it is decided whether it is sent
	stage   atomic.Int32 // leaves waiting under start
	alone   atomic.Bool  // the first has ended
	done    chan struct{}
	err     error

	header, trailer metadata.MD
	peer            peer.Peer
}

// The stages of a hedge.
const (
	waiting int32 = iota
	off
	begun
	over
)

// newHedge returns what may be sent beside a, or nil if nothing can be.
func (u *unaryCall) newHedge(a *unaryAttempt) *hedge {
	p, stats := u.method.hedge, u.method.stats
	if p == nil || !u.method.idempotent || u.method.retry.MaxAttempts == 1 || u.route != nil {
		return nil
	}
	reply, ok := u.rpc.reply.(proto.Message)
	if !ok {
		return nil
	}
	// The type is looked up now: once the attempt is under way, gRPC writes to the reply.
	h := &hedge{beside: a, delay: p.Delay, replies: reply.ProtoReflect().Type()}
	if h.delay == 0 {
		if stats.latency.Samples() < learnedFrom {
			return nil
		}
		h.delay = max(minHedgeDelay, stats.latency.P95())
	}
	h.second.hedge = h
	return h
}

// minHedgeDelay keeps methods that answer in microseconds from being hedged for the
// scheduler's sake.
const minHedgeDelay = time.Millisecond

func (h *hedge) running() bool { return h.stage.Load() == begun }

// isHedge reports whether a is the second of two that go on together.
func (a *unaryAttempt) isHedge() bool { return a.hedge != nil && a == &a.hedge.second }

// accompanied reports whether a is a hedge whose first goes on.
func (a *unaryAttempt) accompanied() bool { return a.isHedge() && !a.hedge.alone.Load() }

// send makes the attempt if all allows it, and returns when that has ended.
func (h *hedge) send() (again time.Duration) {
	now := time.Now()
	if again, begun := h.begin(now); !begun {
		return again
	}
	a, s, u := h.beside, &h.second, h.beside.call
	u.method.count.hedges.Add(1)
	if events := u.state.settings.events; events != nil {
		events(event.AttemptHedged{
			Service: u.core.service, Method: u.method.name, Instance: a.attempt.Instance().ID(), Attempt: s.number, After: now.Sub(u.began),
		})
	}
	h.err = s.try(&h.rpc, time.Now())
	u.judge(s, h.err, time.Now())
	u.tellEnd(&s.attempt, s.note, h.err)
	if u.answers(s, h.err, h.rpc.reply) && (a.overdue.CompareAndSwap(inTime, lost) || a.overdue.CompareAndSwap(late, lost)) {
		a.cancel()
	}
	h.stage.Store(over)
	close(h.done)
	return 0
}

// begin begins the attempt, or returns how long from now to ask again; 0: never. Who
// joins waits for its decision: what belongs to the caller, or to the call's next attempt,
// is not looked at later.
func (h *hedge) begin(now time.Time) (again time.Duration, ok bool) {
	h.start.Lock()
	defer h.start.Unlock()
	a := h.beside
	u := a.call
	if o := a.overdue.Load(); h.stage.Load() != waiting || o != inTime && o != late {
		return 0, false
	}
	i := a.attempt.InFlight()
	if i == nil {
		return h.delay, false // it has not been picked yet, or is about to end
	}
	if since := time.Duration(u.core.fleet.At(now) - a.attempt.Picked()); since < h.delay {
		return h.delay - since, false
	}
	if !a.mayFollow(now) {
		return 0, false
	}
	s := &h.second
	s.attempt.Prior = balancer.TriedOn(i)
	u.begin(s, now)
	if !u.core.fleet.Another(&s.attempt) || !u.tryAcquire() {
		return 0, false
	}
	if !u.state.budget.Withdraw(now) {
		u.release(len(u.method.concurrency))
		return 0, false
	}
	h.outfit()
	s.attempt.Context, s.cancel = context.WithCancel(s.attempt.Context)
	h.done = make(chan struct{})
	h.stage.Store(begun)
	return 0, true
}

// off reports whether it was not sent, and no more will be.
func (h *hedge) off() bool {
	h.start.Lock()
	defer h.start.Unlock()
	return h.stage.CompareAndSwap(waiting, off)
}

// answers reports whether the end of a is the call's: a reply that is wanted, or an error
// that another attempt would not mend.
func (u *unaryCall) answers(a *unaryAttempt, err error, reply any) bool {
	if err == nil {
		return u.wants(reply)
	}
	return !a.cutShort && !isRejection(err) && !retryable(&u.method.retry, &a.attempt, status.Code(err))
}

// outfit gives the hedge a reply and options of its own.
func (h *hedge) outfit() {
	h.rpc = h.beside.call.rpc
	h.rpc.reply = h.replies.New().Interface()
	h.rpc.opts = make([]grpc.CallOption, 0, len(h.beside.call.rpc.opts))
	for _, o := range h.beside.call.rpc.opts {
		switch o.(type) {
		case grpc.HeaderCallOption:
			o = grpc.Header(&h.header)
		case grpc.TrailerCallOption:
			o = grpc.Trailer(&h.trailer)
		case grpc.PeerCallOption:
			o = grpc.Peer(&h.peer)
		}
		h.rpc.opts = append(h.rpc.opts, o)
	}
}

// join returns the attempt that counts once both have ended: the first, which ended with
// err, unless only the second has an answer.
func (h *hedge) join(err error) (*unaryAttempt, error) {
	a, s := h.beside, &h.second
	u := a.call
	u.tellEnd(&a.attempt, a.note, err)
	if h.off() {
		u.traced(&a.attempt, a.note, err)
		return a, err
	}
	first := !a.outrun && u.answers(a, err, u.rpc.reply)
	if first && (s.overdue.CompareAndSwap(inTime, lost) || s.overdue.CompareAndSwap(late, lost)) {
		s.cancel()
	}
	h.alone.Store(true)
	<-h.done
	u.traced(&a.attempt, a.note, err)
	u.traced(&s.attempt, s.note, h.err)
	u.attempts = uint32(s.number)
	second := u.answers(s, h.err, h.rpc.reply)
	switch {
	case first, !second && !a.outrun && (err == nil || isRejection(h.err)):
		a.attempt.Prior = &s.attempt
		return a, err // or a reply that is not wanted, which is better than none
	case second, h.err == nil:
		u.method.count.hedgesWon.Add(1)
		h.deliver()
	case a.cutShort && a.paid: // after the second had failed: it is the one that is followed
		a.attempt.Prior = &s.attempt
		u.executed = u.executed || s.attempt.Executed()
		return a, err
	}
	if a.cutShort && a.hung {
		u.hangs++
	}
	s.attempt.Prior = &a.attempt
	u.executed = u.executed || a.attempt.Executed()
	return s, h.err
}

// deliver hands the caller what the second attempt brought.
func (h *hedge) deliver() {
	r := &h.beside.call.rpc
	if h.err == nil {
		replace(r.reply.(proto.Message), h.rpc.reply.(proto.Message))
	}
	for _, o := range r.opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = h.header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = h.trailer
		case grpc.PeerCallOption:
			*o.PeerAddr = h.peer
		}
	}
}
