package balancer

import (
	"time"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
)

// limits are those of one instance: unary attempts and streams are counted apart, since
// the length of a stream says nothing about load. nil inside: no limit.
type limits struct{ unary, streams *limit.Limiter }

func (l *limits) of(a *Attempt) *limit.Limiter {
	switch {
	case l == nil:
		return nil
	case a.Stream:
		return l.streams
	}
	return l.unary
}

// full reports whether one of them is reached, for display.
func (l *limits) full() bool {
	reached := func(l *limit.Limiter) bool { return l != nil && l.InFlight() >= l.Limit() }
	return l != nil && (reached(l.unary) || reached(l.streams))
}

// newLimits returns the limits of i, or nil if the policies have none.
func (f *Fleet) newLimits(i *Instance) *limits {
	c := f.config.Load()
	if c.Concurrency == nil && c.Streams == nil {
		return nil
	}
	l := &limits{}
	near := func(inFlight, limit int) {
		if f.listening() {
			f.emit(event.LimitNear{Service: f.config.Load().Service, Scope: i.id, InFlight: inFlight, Limit: limit})
		}
	}
	if c.Concurrency != nil {
		l.unary = limit.NewLimiter(*c.Concurrency, nil, near)
	}
	if c.Streams != nil {
		l.streams = limit.NewLimiter(*c.Streams, nil, near)
	}
	return l
}

// may reports whether a chooser may take i for a.
func (a *Attempt) may(i *Instance) bool { return i.eligible() && !a.tried(i) && !a.misses(i) }

// full reports whether i has no room for a. One atomic load without a limit.
func (a *Attempt) full(i *Instance) bool {
	l := i.limits.Load().of(a)
	return l != nil && l.Full(a.Priority)
}

// misses is full for whoever would take i: its limit learns that it holds calls back.
func (a *Attempt) misses(i *Instance) bool {
	l := i.limits.Load()
	return l != nil && a.missesOf(l) // apart, so that this is inlined
}

func (a *Attempt) missesOf(those *limits) bool {
	l := those.of(a)
	if l == nil || !l.Full(a.Priority) {
		return false
	}
	l.Missed()
	return true
}

// enter takes one of i's slots for a, and reports false if the last has gone to another
// since a looked.
func (a *Attempt) enter(i *Instance, now int64) bool {
	l := i.limits.Load().of(a)
	if l == nil {
		return true
	}
	if !l.TryAcquire() && l.Acquire(a, limit.Ask{Priority: a.Priority}, a.Fleet.time(now)) != nil {
		return false
	}
	a.slot = l
	return true
}

// leaveSlot gives the slot back.
func (a *Attempt) leaveSlot() {
	if a.slot != nil {
		a.among = a.slot.InFlight()
		a.slot.Release()
		a.slot = nil
	}
}

// Measured tells an adaptive limit of the attempt's instance how the attempt went, if it
// says anything about load: limit.Success for any answer of the handler, limit.Overload
// for one that was turned away for overload or not answered in time. It is for unary
// attempts, once each. Without an adaptive limit it does nothing.
func (a *Attempt) Measured(o limit.Outcome, elapsed time.Duration, now time.Time) {
	if a.instance == nil || a.Stream {
		return
	}
	if l := a.instance.limits.Load().of(a); l != nil {
		l.Sample(limit.Sample{Elapsed: elapsed, Outcome: o, InFlight: a.among}, now)
	}
}
