package limit_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/limit"
)

func TestRoomByPriority(t *testing.T) {
	for _, c := range []struct{ limit, sheddable, normal int }{
		{1, 1, 1}, {2, 2, 2}, {4, 4, 4}, {5, 4, 5}, {10, 8, 10}, {19, 16, 19}, {20, 16, 19}, {100, 80, 95}, {1024, 820, 973},
	} {
		for priority, want := range map[limit.Priority]int{
			-128: c.sheddable, limit.Sheddable: c.sheddable, limit.Normal: c.normal, limit.Critical: c.limit, 127: c.limit,
		} {
			l := limit.NewLimiter(limit.Concurrency{Limit: c.limit}, nil, nil)
			got := 0
			for l.Acquire(t.Context(), limit.Ask{Priority: priority}, time.Now()) == nil {
				got++
			}
			if got != want {
				t.Errorf("limit %d: %d of priority %d admitted, want %d", c.limit, got, priority, want)
			}
		}
	}
}

func TestTryAcquireLeavesRoomForAll(t *testing.T) {
	l := limit.NewLimiter(limit.Concurrency{Limit: 100}, nil, nil)
	got := 0
	for l.TryAcquire() {
		got++
	}
	if got != 80 {
		t.Errorf("%d admitted, want the 80 that any priority may have", got)
	}
}

func TestRefusals(t *testing.T) {
	l := limit.NewLimiter(limit.Concurrency{Limit: 10}, nil, nil)
	fill(t, l, 9)
	for _, c := range []struct {
		priority limit.Priority
		want     error
	}{
		{limit.Sheddable, limit.ErrShed},
		{limit.Normal, nil},
		{limit.Sheddable, limit.ErrLimit},
		{limit.Normal, limit.ErrLimit},
		{limit.Critical, limit.ErrLimit},
	} {
		err := l.Acquire(t.Context(), limit.Ask{Priority: c.priority}, time.Now())
		if err != c.want || err != nil && !errors.Is(err, limit.ErrExceeded) {
			t.Errorf("%v: %v, want %v", c.priority, err, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Acquire(ended, limit.Ask{}, time.Now()); err != context.Canceled {
		t.Errorf("with an ended context: %v, want its error", err)
	}
}

func TestFallback(t *testing.T) {
	known := 0
	l := limit.NewLimiter(limit.Concurrency{}, func() int { return known }, nil)
	if l.Limit() != limit.DefaultLimit {
		t.Errorf("limit %d: want the default", l.Limit())
	}
	known = 3
	fill(t, l, 3)
	if err := l.Acquire(t.Context(), limit.Ask{}, time.Now()); err != limit.ErrLimit {
		t.Errorf("%v: want %v", err, limit.ErrLimit)
	}
	known = 4
	fill(t, l, 1)
}

func TestReleaseWithoutASlot(t *testing.T) {
	l := limit.NewLimiter(limit.Concurrency{Limit: 1}, nil, nil)
	l.Release()
	fill(t, l, 1)
	if l.TryAcquire() || l.InFlight() != 1 {
		t.Errorf("%d in flight: want 1, of 1", l.InFlight())
	}
}

func TestCrowded(t *testing.T) {
	told := 0
	l := limit.NewLimiter(limit.Concurrency{Limit: 10}, nil, func(n, limit int) {
		if n != 8 || limit != 10 {
			t.Errorf("told of %d of %d: want 8 of 10", n, limit)
		}
		told++
	})
	up := func() { fill(t, l, 10-l.InFlight()) }
	down := func(to int) {
		for l.InFlight() > to {
			l.Release()
		}
	}
	up()
	down(5) // not yet less than half
	up()
	if told != 1 {
		t.Errorf("told %d times of one crowd", told)
	}
	down(4)
	up()
	if told != 2 {
		t.Errorf("told %d times of two crowds", told)
	}
}

// fill takes n slots.
func fill(t *testing.T, l *limit.Limiter, n int) {
	t.Helper()
	for range n {
		if err := l.Acquire(t.Context(), limit.Ask{Priority: limit.Critical}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// played is a call of the model.
type played struct {
	priority limit.Priority
	leave    time.Time
	late     error
	cancel   context.CancelFunc
	want     error // once it does not wait
	waits    bool
	got      atomic.Pointer[error]
}

// model is a limiter written as plainly as possible.
type model struct {
	limit, size int
	inFlight    int
	waiting     []*played // the oldest first
	since       time.Time
	served      int
}

const (
	modelInterval = 100 * time.Millisecond
	modelTarget   = 5 * time.Millisecond
)

func (m *model) room(p limit.Priority) int {
	percent := map[limit.Priority]int{limit.Sheddable: 80, limit.Normal: 95, limit.Critical: 100}[p]
	return (m.limit*percent + 99) / 100
}

func (m *model) overloaded() bool {
	return len(m.waiting) > 0 && time.Since(m.since) >= modelInterval
}

// order returns who waits, the next to be served first.
func (m *model) order() []*played {
	order := slices.Clone(m.waiting)
	if m.overloaded() {
		slices.Reverse(order)
	}
	slices.SortStableFunc(order, func(a, b *played) int { return int(b.priority) - int(a.priority) })
	return order
}

func (m *model) acquire(c *played, left time.Duration) {
	if m.inFlight < m.room(c.priority) {
		m.inFlight++
		return
	}
	if m.size == 0 {
		if c.want = limit.ErrLimit; m.inFlight < m.limit {
			c.want = limit.ErrShed
		}
		return
	}
	ahead := 1
	for _, w := range m.waiting {
		if w.priority >= c.priority {
			ahead++
		}
	}
	if left <= 0 || m.served >= 4 && len(m.waiting) > 0 && !m.overloaded() &&
		left < time.Since(m.since)/time.Duration(2*m.served)*time.Duration(ahead) {
		c.want = limit.ErrNoTime
		return
	}
	patience := modelInterval
	if m.overloaded() {
		patience = modelTarget
	}
	c.leave, c.late = time.Now().Add(patience), limit.ErrShed
	if left < patience {
		c.leave, c.late = time.Now().Add(left), limit.ErrNoTime
	}
	if len(m.waiting) == 0 {
		m.since, m.served = time.Now(), 0
	}
	c.waits = true
	m.waiting = append(m.waiting, c)
	if len(m.waiting) > m.size {
		order := m.order()
		last := order[len(order)-1]
		m.drop(last, limit.ErrShed)
		if last == c {
			c.want = limit.ErrQueueFull
		}
	}
}

func (m *model) drop(c *played, why error) {
	m.waiting = slices.DeleteFunc(m.waiting, func(o *played) bool { return o == c })
	c.waits, c.want = false, why
}

func (m *model) release() {
	if m.inFlight == 0 {
		return
	}
	m.inFlight--
	for len(m.waiting) > 0 {
		next := m.order()[0]
		if m.inFlight >= m.room(next.priority) {
			return
		}
		m.inFlight++
		m.served++
		m.drop(next, nil)
	}
}

func (m *model) expire() {
	for _, c := range slices.Clone(m.waiting) {
		if !c.leave.After(time.Now()) {
			m.drop(c, c.late)
		}
	}
}

// FuzzLimiter plays a limiter against the model.
func FuzzLimiter(f *testing.F) {
	f.Add(uint8(1), uint8(2), []byte{0, 1, 2, 3, 4, 5, 100, 101, 102, 200, 201, 3, 3, 3, 3, 250, 5, 5})
	f.Add(uint8(5), uint8(0), []byte{0, 0, 0, 0, 0, 4, 8, 12, 3, 3, 0, 4, 8})
	f.Add(uint8(2), uint8(3), []byte{0, 0, 4, 8, 12, 28, 44, 48, 1, 3, 250, 250, 0, 4, 8, 28, 1, 5, 9})
	f.Fuzz(func(t *testing.T, most, size uint8, ops []byte) {
		play(t, int(most%32)+1, int(size%6), ops)
	})
}

func TestLimiterAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		ops := make([]byte, 200)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		play(t, 1+r.IntN(30), r.IntN(6), ops)
	}
}

func play(t *testing.T, most, size int, ops []byte) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.NewLimiter(limit.Concurrency{Limit: most, Queue: limit.Queue{MaxWaiting: size}}, nil, nil)
		m := &model{limit: most, size: size}
		var calls []*played
		for i, op := range ops {
			switch arg := int(op / 4); op % 4 {
			case 0, 1:
				if op%4 == 1 && arg%4 == 0 { // one that waits is cancelled
					if len(m.waiting) > 0 {
						c := m.waiting[arg%len(m.waiting)]
						c.cancel()
						m.drop(c, context.Canceled)
					}
					break
				}
				c := &played{priority: limit.Priority(arg%3) - 1}
				left := time.Duration(arg/3) * 10 * time.Millisecond
				calls = append(calls, c)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c.cancel = cancel
				m.acquire(c, left)
				go func() {
					err := l.Acquire(ctx, limit.Ask{
						Priority: c.priority, Deadline: time.Now().Add(left + time.Second), Need: time.Second,
					}, time.Now())
					c.got.Store(&err)
				}()
			case 2:
				time.Sleep(time.Duration(arg) * time.Millisecond)
				m.expire()
			case 3:
				m.release()
				l.Release()
			}
			synctest.Wait()
			if l.InFlight() != m.inFlight || l.Waiting() != len(m.waiting) || l.InFlight() > most || l.Waiting() > size {
				t.Fatalf("op %d (%d, %d): %d in flight, %d wait: want %d and %d", i, op%4, op/4, l.InFlight(), l.Waiting(), m.inFlight, len(m.waiting))
			}
			calls = slices.DeleteFunc(calls, func(c *played) bool {
				got := c.got.Load()
				if (got == nil) != c.waits {
					t.Fatalf("op %d: %v waits: %v, want %v", i, c.priority, got == nil, c.waits)
				}
				if got != nil && *got != c.want {
					t.Fatalf("op %d: %v got %v, want %v", i, c.priority, *got, c.want)
				}
				return got != nil
			})
		}
		for _, c := range calls {
			c.cancel()
		}
	})
}

// TestManyCallers looks for a slot that is lost or given twice.
func TestManyCallers(t *testing.T) {
	for name, p := range map[string]limit.Concurrency{
		"no queue": {Limit: 7},
		"queue":    {Limit: 7, Queue: limit.Queue{MaxWaiting: 30}},
		"adaptive": {Adaptive: limit.Adaptive{On: true, Max: 9}, Queue: limit.Queue{MaxWaiting: 30}},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { manyCallers(t, p) }) })
	}
}

func manyCallers(t *testing.T, p limit.Concurrency) {
	l := limit.NewLimiter(p, nil, func(int, int) {})
	most := int64(max(p.Limit, p.Adaptive.Max))
	var held, served atomic.Int64
	var all sync.WaitGroup
	for caller := range 64 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(caller), 5))
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(20_000))*time.Microsecond)
				ask := limit.Ask{Priority: limit.Priority(r.IntN(3) - 1)}
				if l.TryAcquire() || l.Acquire(ctx, ask, time.Now()) == nil {
					if n := held.Add(1); n > most {
						t.Errorf("%d in flight: want %d at most", n, most)
					}
					served.Add(1)
					time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
					held.Add(-1)
					l.Sample(limit.Sample{Elapsed: time.Millisecond, Outcome: limit.Outcome(r.IntN(3))}, time.Now())
					l.Release()
				}
				cancel()
			}
		})
	}
	all.Wait()
	if l.InFlight() != 0 || l.Waiting() != 0 || served.Load() == 0 {
		t.Errorf("%d in flight, %d wait, %d served: want 0, 0 and some", l.InFlight(), l.Waiting(), served.Load())
	}
	fill(t, l, l.Limit())
}
