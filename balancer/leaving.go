package balancer

import (
	"context"
	"time"
)

// tombstone is how long an instance that announced its leaving is passed over, unless
// it shows before that it stays.
const tombstone = 30 * time.Second

// drains notes that i has said, in the trailer of an answer, that it is leaving. Only
// such a word leaves a mark that outlives the connection: what the source says of it
// meanwhile may be older.
func (f *Fleet) drains(i *Instance, now int64) {
	if f.config.Load().Off.Draining {
		return
	}
	i.drainedAt.Store(now) // before the mark: whoever sees that may compare
	if !i.set(draining) {
		return
	}
	if f.config.Load().Off.Draining { // switched off meanwhile
		i.clear(draining)
		return
	}
	i.leave(now)
	f.marked(i, "it said that it is leaving")
	i.signalMu.Lock()
	defer i.signalMu.Unlock()
	if i.tombstone == nil {
		i.tombstone = time.AfterFunc(tombstone, func() { f.expire(i) })
	} else {
		i.tombstone.Reset(tombstone)
	}
}

// expire ends the mark, or looks again if i has repeated its word.
func (f *Fleet) expire(i *Instance) {
	if left := i.drainedAt.Load() + int64(tombstone) - f.now(); left > 0 && i.has(draining) {
		i.signalMu.Lock()
		defer i.signalMu.Unlock()
		i.tombstone.Reset(time.Duration(left))
		return
	}
	if i.clear(draining) {
		f.marked(i, "it said 30 s ago that it was leaving, and is still there")
	}
}

// stays notes an answer without the mark, to an attempt that was picked at picked.
func (f *Fleet) stays(i *Instance, picked int64) {
	if i.has(draining) && !i.has(notServing) && picked > i.drainedAt.Load() && i.clear(draining) {
		f.marked(i, "it answers without saying that it is leaving")
	}
}

// leave tells the streams on i that it begins to leave.
func (i *Instance) leave(now int64) {
	i.signalMu.Lock()
	defer i.signalMu.Unlock()
	i.leftFrom = now
	if i.signal != nil {
		close(i.signal)
		i.signal = nil
	}
}

// Leaving returns a channel that is closed when the attempt's instance begins to leave.
func (a *Attempt) Leaving() <-chan struct{} {
	i := a.on.Load()
	if i == nil {
		return nil // it is over
	}
	i.signalMu.Lock()
	defer i.signalMu.Unlock()
	if i.leftFrom >= a.Picked() || i.has(notServing|draining) {
		left := make(chan struct{})
		close(left)
		return left
	}
	if i.signal == nil {
		i.signal = make(chan struct{})
	}
	return i.signal
}

// AttemptFrom returns the attempt that ctx, a client stream's, belongs to, or nil.
func AttemptFrom(ctx context.Context) *Attempt {
	a, _ := ctx.Value(attemptKey{}).(*Attempt)
	return a
}
