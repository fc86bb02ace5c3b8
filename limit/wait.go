package limit

import (
	"context"
	"time"
)

// queueUp is Acquire for who found no room at first sight.
func (l *Limiter) queueUp(ctx context.Context, ask Ask, now time.Time) error {
	latest := ask.latest(ctx)
	l.mu.Lock()
	l.dispatch(now) // the limit may have risen
	limit := l.Limit()
	took, err := l.join(limit, ask.Priority, latest, now)
	if took || err != nil {
		l.mu.Unlock()
		l.crowd(l.InFlight(), limit)
		return err
	}
	leave, late := now.Add(l.queue.patience(now)), ErrShed
	if !latest.IsZero() && latest.Before(leave) {
		leave, late = latest, ErrNoTime
	}
	w, out := l.queue.push(ask.Priority.class(), now)
	l.mu.Unlock()
	if out != nil {
		out.answer <- ErrShed
	}
	l.crowd(l.InFlight(), limit)
	return l.wait(ctx, w, leave.Sub(now), late)
}

// join takes a slot, counts one more who waits, or says why not. It requires l.mu.
func (l *Limiter) join(limit int, p Priority, latest, now time.Time) (took bool, err error) {
	for {
		w := l.word.Load()
		if inFlight(w) < room(limit, p) { // those who wait may use less of the limit
			if l.word.CompareAndSwap(w, w+oneInFlight) {
				return true, nil
			}
			continue
		}
		l.Missed()
		if l.queue.policy.MaxWaiting == 0 {
			if inFlight(w) < limit {
				return false, ErrShed
			}
			return false, ErrLimit
		}
		if err := l.queue.refuse(p.class(), latest, now); err != nil {
			return false, err
		}
		if l.queue.full() || l.word.CompareAndSwap(w, w+oneWaiting) {
			return false, nil // of a full queue one gives way, and the count stays
		}
	}
}

// wait waits for the answer to w, for at most that long.
func (l *Limiter) wait(ctx context.Context, w *waiter, most time.Duration, late error) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case err := <-w.answer:
		return err
	case <-ctx.Done():
		if !l.leave(w) && <-w.answer == nil {
			l.Release()
		}
		return ctx.Err()
	case <-timer.C:
		if l.leave(w) {
			return late
		}
		return <-w.answer
	}
}

// leave takes w out of the queue; false if it has its answer, or is about to.
func (l *Limiter) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.queued {
		return false
	}
	l.queue.remove(w)
	l.move(0, -1)
	return true
}

// handOver gives a slot back while somebody waits, or did a moment ago.
func (l *Limiter) handOver() {
	now := time.Now()
	l.mu.Lock()
	l.move(-1, 0)
	l.dispatch(now)
	l.mu.Unlock()
	l.disperse(l.InFlight())
}

// dispatch gives slots to those who wait while there is room for the next of them. It
// requires l.mu.
func (l *Limiter) dispatch(now time.Time) {
	for {
		class, ok := l.queue.first()
		if !ok || l.InFlight() >= room(l.Limit(), Priority(class-1)) {
			return
		}
		w := l.queue.pop(class, now)
		l.move(+1, -1)
		w.answer <- nil
	}
}

// latest returns when waiting has no sense any more; zero is never.
func (a Ask) latest(ctx context.Context) time.Time {
	deadline := a.Deadline
	if deadline.IsZero() {
		var ok bool
		if deadline, ok = ctx.Deadline(); !ok {
			return time.Time{}
		}
	}
	return deadline.Add(-a.Need)
}
