package surecall

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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
	second unaryAttempt
	beside *unaryAttempt // the first
	delay  time.Duration
	rpc    rpc
	stage  atomic.Int32
	alone  atomic.Bool // the first has ended
	done   chan struct{}
	err    error

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
	h := &hedge{beside: a, delay: p.Delay}
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
	a, now := h.beside, time.Now()
	u := a.call
	if h.stage.Load() != waiting {
		return 0
	}
	i := a.attempt.InFlight()
	if i == nil {
		return h.delay // it has not been picked yet, or is about to end
	}
	if since := time.Duration(u.core.fleet.At(now) - a.attempt.Picked()); since < h.delay {
		return h.delay - since
	}
	if !a.mayFollow(now) || !u.core.fleet.Elsewhere(i) || !h.outfit() || !u.tryAcquire() {
		return 0
	}
	if !u.state.budget.Withdraw(now) {
		u.release(len(u.method.concurrency))
		return 0
	}
	s := &h.second
	s.attempt.Prior = balancer.TriedOn(i)
	u.begin(s, now)
	s.attempt.Context, s.cancel = context.WithCancel(s.attempt.Context)
	h.done = make(chan struct{})
	if !h.stage.CompareAndSwap(waiting, begun) {
		s.cancel()
		u.release(len(u.method.concurrency))
		return 0 // answered meanwhile; a token is lost, which errs on the safe side
	}
	if events := u.state.settings.events; events != nil {
		events(event.AttemptHedged{
			Service: u.core.service, Method: u.method.name, Instance: i.ID(), Attempt: s.number, After: now.Sub(u.began),
		})
	}
	h.err = s.try(&h.rpc, now)
	u.judge(s, h.err, time.Now())
	if u.answers(s, h.err) && (a.overdue.CompareAndSwap(inTime, lost) || a.overdue.CompareAndSwap(late, lost)) {
		a.cancel()
	}
	h.stage.Store(over)
	close(h.done)
	return 0
}

// answers reports whether the end of a is the call's: a reply, or an error that another
// attempt would not mend.
func (u *unaryCall) answers(a *unaryAttempt, err error) bool {
	return err == nil || !a.cutShort && !isRejection(err) && !retryable(&u.method.retry, status.Code(err), a.attempt.Executed())
}

// outfit gives the hedge a reply and options of its own. It reports whether it can.
func (h *hedge) outfit() bool {
	h.rpc = h.beside.call.rpc
	reply, ok := h.rpc.reply.(proto.Message)
	if !ok {
		return false
	}
	h.rpc.reply = reply.ProtoReflect().New().Interface()
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
	return true
}

// join returns the attempt that counts once both have ended: the first, which ended with
// err, unless only the second has an answer.
func (h *hedge) join(err error) (*unaryAttempt, error) {
	a, s := h.beside, &h.second
	u := a.call
	if h.stage.CompareAndSwap(waiting, off) {
		u.traced(&a.attempt, a.note, err)
		return a, err
	}
	first := !a.outrun && u.answers(a, err)
	if first && (s.overdue.CompareAndSwap(inTime, lost) || s.overdue.CompareAndSwap(late, lost)) {
		s.cancel()
	}
	h.alone.Store(true)
	<-h.done
	u.traced(&a.attempt, a.note, err)
	u.traced(&s.attempt, s.note, h.err)
	u.attempts = s.number
	switch {
	case first, !a.outrun && isRejection(h.err):
		return a, err
	case u.answers(s, h.err):
		h.deliver()
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
