package limit

import (
	"slices"
	"testing"
	"time"
)

// naiveQueue keeps who waits in one slice, the oldest first, and searches it anew each
// time.
type naiveQueue struct {
	policy Queue
	waits  []*waiter
	since  time.Time
	served int
}

func (q *naiveQueue) overloaded(now time.Time) bool {
	return len(q.waits) > 0 && !now.Before(q.since.Add(q.policy.Interval))
}

// order returns who waits, the next to be served first.
func (q *naiveQueue) order(now time.Time) []*waiter {
	order := slices.Clone(q.waits)
	if q.overloaded(now) {
		slices.Reverse(order)
	}
	slices.SortStableFunc(order, func(a, b *waiter) int { return b.class - a.class })
	return order
}

// full says what becomes of one more: refused, or who gives way.
func (q *naiveQueue) gives(class int, now time.Time) (out *waiter, refused bool) {
	if len(q.waits) < q.policy.MaxWaiting {
		return nil, false
	}
	newcomer := &waiter{class: class}
	q.waits = append(q.waits, newcomer)
	order := q.order(now)
	q.waits = q.waits[:len(q.waits)-1]
	last := order[len(order)-1]
	return last, last == newcomer
}

func (q *naiveQueue) push(w *waiter, now time.Time) {
	if len(q.waits) == 0 {
		q.since, q.served = now, 0
	}
	q.waits = append(q.waits, w)
}

func (q *naiveQueue) remove(w *waiter) {
	q.waits = slices.DeleteFunc(q.waits, func(o *waiter) bool { return o == w })
}

// late reports whether one with so much time left would come too late even at twice the
// pace.
func (q *naiveQueue) late(class int, left time.Duration, now time.Time) bool {
	if left <= 0 {
		return true
	}
	if q.served < 4 || len(q.waits) == 0 || q.overloaded(now) {
		return false
	}
	ahead := 0
	for _, w := range q.waits {
		if w.class >= class {
			ahead++
		}
	}
	return left < now.Sub(q.since)/time.Duration(2*q.served)*time.Duration(ahead+1)
}

// FuzzQueue plays a queue against the naive one.
func FuzzQueue(f *testing.F) {
	f.Add(uint8(3), []byte{0, 1, 2, 3, 4, 5, 100, 101, 102, 200, 201, 3, 3, 3, 3, 250, 5, 5})
	f.Add(uint8(1), []byte{0, 0, 1, 1, 2, 2, 0, 100, 100, 3})
	f.Add(uint8(9), []byte{0, 4, 8, 12, 16, 3, 3, 7, 11, 90, 94, 98, 3, 3, 3, 254, 1, 2, 3})
	f.Fuzz(func(t *testing.T, size uint8, ops []byte) {
		policy := Queue{MaxWaiting: 1 + int(size%16), Interval: 100 * time.Millisecond, Target: 5 * time.Millisecond}
		q, naive := &queue{policy: policy}, &naiveQueue{policy: policy}
		now := time.Unix(0, 0)
		for _, op := range ops {
			switch arg := int(op / 4); op % 4 {
			case 0: // one comes
				class := arg % classes
				left := time.Duration(arg/classes) * 5 * time.Millisecond
				playPush(t, q, naive, class, left, now)
			case 1: // one leaves
				if len(naive.waits) > 0 {
					w := naive.waits[arg%len(naive.waits)]
					naive.remove(w)
					q.remove(w)
				}
			case 2: // time passes
				now = now.Add(time.Duration(arg) * time.Millisecond)
			case 3: // the next is served
				class, ok := q.first()
				if ok != (len(naive.waits) > 0) {
					t.Fatalf("somebody waits: %v, want %v", ok, !ok)
				}
				if ok {
					want := naive.order(now)[0]
					naive.remove(want)
					naive.served++
					if got := q.pop(class, now); got != want {
						t.Fatalf("served %+v, want %+v", got, want)
					}
				}
			}
			if q.waits != len(naive.waits) || q.waits > policy.MaxWaiting {
				t.Fatalf("%d wait, want %d, at most %d", q.waits, len(naive.waits), policy.MaxWaiting)
			}
			if q.overloaded(now) != naive.overloaded(now) {
				t.Fatalf("overloaded %v, want %v", q.overloaded(now), naive.overloaded(now))
			}
		}
	})
}

func playPush(t *testing.T, q *queue, naive *naiveQueue, class int, left time.Duration, now time.Time) {
	t.Helper()
	out, refused := naive.gives(class, now)
	err := q.refuse(class, now.Add(left), now)
	switch late := naive.late(class, left, now); {
	case late:
		if err != ErrNoTime {
			t.Fatalf("refuse: %v, want %v", err, ErrNoTime)
		}
		return
	case refused:
		if err != ErrQueueFull {
			t.Fatalf("refuse: %v, want %v", err, ErrQueueFull)
		}
		return
	case err != nil:
		t.Fatalf("refuse: %v, want none", err)
	}
	w, gone := q.push(class, now)
	if gone != out {
		t.Fatalf("gave way: %+v, want %+v", gone, out)
	}
	naive.push(w, now)
	if out != nil {
		naive.remove(out)
	}
}
