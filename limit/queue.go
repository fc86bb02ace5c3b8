package limit

import "time"

// queue holds those who wait, by priority and then by when they came. It is not safe for
// concurrent use.
type queue struct {
	policy Queue
	lists  [classes]list
	waits  int
	since  time.Time // when it was last empty, while it is not
	served int       // how many it let go since then
}

// waiter is one who waits. All but answer belongs to the queue.
type waiter struct {
	class      int
	prev, next *waiter
	queued     bool
	answer     chan error // holds one: nil is a slot
}

// refuse says why one who comes now cannot wait; nil if it can. latest is when waiting
// has no sense any more; zero is never.
func (q *queue) refuse(class int, latest, now time.Time) error {
	if !latest.IsZero() && latest.Sub(now) < q.leastWait(class, now) {
		return ErrNoTime
	}
	if !q.full() {
		return nil
	}
	last := q.last(now)
	if last.class < class || last.class == class && q.overloaded(now) {
		return nil
	}
	return ErrQueueFull
}

func (q *queue) full() bool { return q.waits >= q.policy.MaxWaiting }

// push lets one wait whom refuse did not refuse, and returns the one who had to give way,
// if any.
func (q *queue) push(class int, now time.Time) (w, out *waiter) {
	if q.full() {
		out = q.last(now)
	}
	if q.waits == 0 {
		q.since, q.served = now, 0
	}
	w = &waiter{class: class, queued: true, answer: make(chan error, 1)}
	q.lists[class].append(w)
	q.waits++
	if out != nil {
		q.remove(out) // after the newcomer: a queue of one was not empty in between
	}
	return w, out
}

// first returns the class of who is next; false if nobody waits.
func (q *queue) first() (class int, ok bool) {
	for class := classes - 1; class >= 0; class-- {
		if q.lists[class].head != nil {
			return class, true
		}
	}
	return 0, false
}

// pop takes the next one out of a class in which somebody waits.
func (q *queue) pop(class int, now time.Time) *waiter {
	w := q.lists[class].head
	if q.overloaded(now) {
		w = q.lists[class].tail
	}
	q.remove(w)
	q.served++
	return w
}

func (q *queue) remove(w *waiter) {
	q.lists[w.class].remove(w)
	w.queued = false
	q.waits--
}

// patience is how long one who comes now waits at most.
func (q *queue) patience(now time.Time) time.Duration {
	if q.overloaded(now) {
		return q.policy.Target
	}
	return q.policy.Interval
}

// overloaded reports whether the queue has not been empty for its Interval.
func (q *queue) overloaded(now time.Time) bool {
	return q.waits > 0 && now.Sub(q.since) >= q.policy.Interval
}

// last returns who would be served last: of the least important, the newest while calm,
// the oldest during overload. Somebody must wait.
func (q *queue) last(now time.Time) *waiter {
	for i := range q.lists {
		if l := &q.lists[i]; l.head != nil {
			if q.overloaded(now) {
				return l.head
			}
			return l.tail
		}
	}
	return nil
}

// leastWait is how long one who comes now will wait even if the queue drains twice as
// fast as it did since it was last empty. It is a nanosecond if nothing can be said: too
// few were served, or the newest is served first.
func (q *queue) leastWait(class int, now time.Time) time.Duration {
	const enough = 4
	if q.waits == 0 || q.served < enough || q.overloaded(now) {
		return 1
	}
	turn := 1
	for _, l := range q.lists[class:] {
		turn += l.len
	}
	return max(1, now.Sub(q.since)/time.Duration(2*q.served)*time.Duration(turn))
}

// list is a list of waiters, the oldest at its head.
type list struct {
	head, tail *waiter
	len        int
}

func (l *list) append(w *waiter) {
	w.prev = l.tail
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
	l.len++
}

func (l *list) remove(w *waiter) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	l.len--
}
