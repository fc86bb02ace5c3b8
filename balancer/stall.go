package balancer

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// minPatience is how long a unary attempt may wait with nothing received from its
	// instance before that one is suspected, at least.
	minPatience = 50 * time.Millisecond
	// patiences is the number of classes of patience: 50 ms, twice that, and so on up to
	// 12.8 s. Who would be more patient than that is not watched over.
	patiences = 9
	// The monitor looks when the first instance may be overdue, within these bounds; of
	// the shortest patience it lets a quarter pass, if that is more, up to idleTick.
	minTick  = 10 * time.Millisecond
	maxTick  = 25 * time.Millisecond
	idleTick = 200 * time.Millisecond
	// tickEach makes the looks at a large fleet rarer: under a hundredth of a processor.
	tickEach = 4 * time.Microsecond
	// tickLate is how late a look may come. One that is later was held up by our own
	// process, and the answers may be waiting for us: it judges nobody. Go's timers are
	// within a few milliseconds, unless there is no processor for them.
	tickLate = 20 * time.Millisecond
	// excuse is how long an instance that answered a probe, but not the calls that wait
	// on it, is left alone at least: it lives, and its breaker judges what it does.
	excuse = time.Second
)

// patience holds the unary attempts in flight on an instance whose patience is of the
// same class.
type patience struct {
	waiting atomic.Int32
	since   atomic.Int64 // when waiting last left zero
	allowed atomic.Int64 // how long they may wait
}

// classOf returns the class of a patience, or -1: none.
func classOf(d time.Duration) int {
	if d <= 0 {
		return -1
	}
	class := bits.Len64(uint64((d - 1) / minPatience))
	if class >= patiences {
		return -1
	}
	return class
}

// monitor looks for instances from which nothing comes back. Its timer runs only while
// attempts with a patience are in flight.
type monitor struct {
	armed atomic.Bool
	timer atomic.Pointer[time.Timer]
	due   atomic.Int64 // of the next look
	grace atomic.Int64 // nobody is held to have waited since before
}

// watch enters an attempt on i into the monitor's care.
func (f *Fleet) watch(i *Instance, class int, allowed time.Duration, now int64) {
	p := &i.patience[class]
	if p.waiting.Load() == 0 {
		p.since.Store(now)
	}
	if p.allowed.Load() != int64(allowed) {
		p.allowed.Store(int64(allowed)) // of the latest; within a class they differ by less than 2
	}
	p.waiting.Add(1)
	f.monitorFrom(now)
}

// monitorFrom starts the monitor if it does not run.
func (f *Fleet) monitorFrom(now int64) {
	if !f.monitor.armed.Load() && f.monitor.armed.CompareAndSwap(false, true) {
		f.look(now, maxTick)
	}
}

// look has tick called after d.
func (f *Fleet) look(now int64, d time.Duration) {
	f.monitor.due.Store(now + int64(d))
	if t := f.monitor.timer.Load(); t != nil {
		t.Reset(d)
		return
	}
	f.monitor.timer.Store(time.AfterFunc(d, f.tick))
}

// tick looks at everybody once.
func (f *Fleet) tick() {
	now := f.now()
	if now-f.monitor.due.Load() > int64(tickLate) {
		f.monitor.grace.Store(now)
	}
	members := *f.members.Load()
	next, busy := int64(idleTick), false
	for _, i := range members {
		if i.unprobed() {
			f.probe(i, probeTimeout)
		}
		waited, allowed := f.waiting(i, now)
		if allowed == 0 || i.probing.Load() {
			continue // what comes of the probe starts the monitor again
		}
		busy = true
		if waited >= allowed {
			f.Suspect(i, time.Duration(waited), now)
			continue
		}
		next = min(next, max(allowed/4, int64(maxTick)), allowed-waited)
	}
	if busy {
		// A look at ten thousand takes a third of a millisecond.
		f.look(now, max(time.Duration(next), minTick, time.Duration(len(members))*tickEach))
		return
	}
	f.monitor.armed.Store(false)
	for _, i := range members { // one that came before it saw that
		if _, allowed := f.waiting(i, now); allowed != 0 && !i.probing.Load() || i.unprobed() {
			f.monitorFrom(now)
			return
		}
	}
}

// unprobed reports whether i is held to hang and nobody finds out whether it is back.
func (i *Instance) unprobed() bool {
	return i.has(suspected|hung) && !i.probing.Load() && i.conn.SubConn() != nil
}

// waiting returns how long attempts on i have waited with nothing received, and how
// long those may that are closest to the end of their patience; 0: none wait.
func (f *Fleet) waiting(i *Instance, now int64) (waited, allowed int64) {
	heard := max(i.latency.progress.Load(), f.monitor.grace.Load())
	probed := i.probed.Load()
	for class := range i.patience {
		p := &i.patience[class]
		if p.waiting.Load() <= 0 {
			continue
		}
		may := p.allowed.Load()
		since := max(heard, p.since.Load())
		if probed > since {
			since, may = probed, max(may, int64(excuse))
		}
		if allowed == 0 || may-(now-since) < allowed-waited {
			waited, allowed = now-since, may
		}
	}
	return waited, allowed
}

// Suspect notes that attempts have waited on i for waited, in vain. If i has answered
// nobody meanwhile it is probed, and calls pass it over from now on: until it answers
// anything at all, an error too, or has a new connection.
//
// When half of the connected instances are suspected or ejected already, it is likelier
// that all are short of time, or this process is: then it serves until it leaves a longer
// probe unanswered.
func (f *Fleet) Suspect(i *Instance, waited time.Duration, now int64) {
	if i.latency.progress.Load() > now-int64(waited)*9/10 {
		return // it is slow with this one, but it lives
	}
	if i.probing.Load() || i.conn.SubConn() == nil || f.config.Load().Off.HangDetection {
		return
	}
	timeout := probeTimeout
	if connected, out := f.census(i); 2*(out+1) > connected && connected > 1 {
		timeout = longProbe
	} else if i.set(suspected) {
		f.marked(i, "calls wait on it and nothing comes back")
	}
	if f.config.Load().Off.HangDetection { // switched off meanwhile
		f.alive(i, now, "the detection of hangs was switched off")
		return
	}
	f.probe(i, timeout)
	f.monitorFrom(now) // should the probe not have begun
}

// Hung reports whether i is held to hang: calls waited on it in vain, and so did a
// probe.
func (i *Instance) Hung() bool { return i != nil && i.has(hung) }

// Suspected reports whether calls wait on i in vain.
func (i *Instance) Suspected() bool { return i != nil && i.has(suspected) }

// Progress notes that i has answered.
func (f *Fleet) Progress(i *Instance, now int64) {
	i.latency.progress.Store(now)
	if i.has(suspected | hung) {
		f.alive(i, now, "it answers again")
	}
}

// alive ends the suspicion of i. After an ejection its share rises slowly, unless the
// service as a whole has been back since.
func (f *Fleet) alive(i *Instance, now int64, why string) {
	wasHung := i.clear(hung)
	if !i.clear(suspected) && !wasHung {
		return
	}
	i.latency.forget() // what it was charged while it hung would keep calls away for a minute
	if wasHung {
		if i.hungAt.Load() > f.recovered.Load() {
			i.rampStart.Store(now)
		}
		if b := i.keptBreaker.Load(); b != nil {
			b.Expedite()
		}
		f.updateDue()
	}
	f.marked(i, why)
}
