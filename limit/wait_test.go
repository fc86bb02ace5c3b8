package limit_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/limit"
)

// come lets a call come and returns where its end is to be found.
func come(ctx context.Context, l *limit.Limiter, ask limit.Ask) <-chan error {
	end := make(chan error, 1)
	go func() { end <- l.Acquire(ctx, ask, time.Now()) }()
	synctest.Wait()
	return end
}

// waits reports whether there is no end yet.
func waits(end <-chan error) bool {
	synctest.Wait()
	return len(end) == 0
}

func ended(t *testing.T, end <-chan error, want error) {
	t.Helper()
	if waits(end) {
		t.Errorf("waits: want %v", want)
	} else if err := <-end; err != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

// one is a limiter of one slot, which is taken.
func one(t *testing.T, size int) *limit.Limiter {
	l := limit.NewLimiter(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: size}}, nil, nil)
	fill(t, l, 1)
	return l
}

func TestFirstInFirstOutWhileCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := one(t, 10)
		first, second := come(t.Context(), l, limit.Ask{}), come(t.Context(), l, limit.Ask{})
		l.Release()
		ended(t, first, nil)
		if !waits(second) {
			t.Error("one slot was given to two")
		}
		l.Release()
		ended(t, second, nil)
	})
}

func TestNewestFirstInOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := one(t, 10)
		come(t.Context(), l, limit.Ask{})
		time.Sleep(60 * time.Millisecond)
		old := come(t.Context(), l, limit.Ask{})
		time.Sleep(41 * time.Millisecond) // by now the queue stands for 101 ms
		fresh := come(t.Context(), l, limit.Ask{})
		l.Release()
		ended(t, fresh, nil)
		late := come(t.Context(), l, limit.Ask{})
		time.Sleep(5 * time.Millisecond)
		ended(t, late, limit.ErrShed)
		if !waits(old) {
			t.Error("one that came in calm has the patience of then")
		}
		time.Sleep(54 * time.Millisecond)
		ended(t, old, limit.ErrShed)
	})
}

func TestTheMoreImportantFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := one(t, 10)
		var ends []<-chan error
		for _, p := range []limit.Priority{limit.Sheddable, limit.Normal, limit.Critical} {
			ends = append(ends, come(t.Context(), l, limit.Ask{Priority: p}))
		}
		for i := len(ends) - 1; i >= 0; i-- {
			l.Release()
			ended(t, ends[i], nil)
		}
	})
}

func TestWhoGivesWay(t *testing.T) {
	for _, c := range []struct {
		waiting [2]limit.Priority
		comes   limit.Priority
		out     int // who; 2: who comes
	}{
		{[2]limit.Priority{limit.Normal, limit.Normal}, limit.Normal, 2},
		{[2]limit.Priority{limit.Normal, limit.Normal}, limit.Sheddable, 2},
		{[2]limit.Priority{limit.Normal, limit.Normal}, limit.Critical, 1},
		{[2]limit.Priority{limit.Sheddable, limit.Critical}, limit.Normal, 0},
		{[2]limit.Priority{limit.Critical, limit.Critical}, limit.Critical, 2},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				l := one(t, 2)
				var ends []<-chan error
				for _, p := range append(c.waiting[:], c.comes) {
					ends = append(ends, come(ctx, l, limit.Ask{Priority: p}))
				}
				for i, end := range ends {
					switch {
					case i != c.out:
						if !waits(end) {
							t.Errorf("call %d: %v: want it to wait", i, <-end)
						}
					case i == 2:
						ended(t, end, limit.ErrQueueFull)
					default:
						ended(t, end, limit.ErrShed)
					}
				}
				cancel()
			})
		})
	}
}

func TestOldestGivesWayInOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.NewLimiter(limit.Concurrency{Limit: 1, Queue: limit.Queue{
			MaxWaiting: 2, Interval: 100 * time.Millisecond, Target: 50 * time.Millisecond,
		}}, nil, nil)
		fill(t, l, 1)
		come(t.Context(), l, limit.Ask{})
		time.Sleep(99 * time.Millisecond)
		oldest := come(t.Context(), l, limit.Ask{})
		time.Sleep(time.Millisecond) // the first has left; the queue stands on
		come(t.Context(), l, limit.Ask{})
		come(t.Context(), l, limit.Ask{})
		ended(t, oldest, limit.ErrShed)
		time.Sleep(time.Second)
	})
}

func TestNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := one(t, 10)
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		ended(t, come(t.Context(), l, limit.Ask{Deadline: in(10 * time.Millisecond), Need: 10 * time.Millisecond}), limit.ErrNoTime)
		soon := come(t.Context(), l, limit.Ask{Deadline: in(10 * time.Millisecond), Need: 4 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		own := come(ctx, l, limit.Ask{Need: 5 * time.Millisecond}) // of its context's deadline
		time.Sleep(6 * time.Millisecond)
		ended(t, soon, limit.ErrNoTime)
		time.Sleep(8 * time.Millisecond)
		if !waits(own) {
			t.Error("14 ms: it can wait for one more")
		}
		time.Sleep(time.Millisecond)
		ended(t, own, limit.ErrNoTime)
	})
}

// TestNoTimeAtThisPace: a slot each 10 ms, and 5 calls before this one.
func TestNoTimeAtThisPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := one(t, 10)
		for range 9 {
			come(ctx, l, limit.Ask{})
		}
		for range 4 {
			time.Sleep(10 * time.Millisecond)
			l.Release()
		}
		soon := time.Now().Add(29 * time.Millisecond) // 6 turns take 60 ms; twice as fast, 30
		ended(t, come(ctx, l, limit.Ask{Deadline: soon}), limit.ErrNoTime)
		if !waits(come(ctx, l, limit.Ask{Deadline: soon, Priority: limit.Critical})) {
			t.Error("a critical call, which is next, was refused")
		}
		if !waits(come(ctx, l, limit.Ask{Deadline: soon.Add(20 * time.Millisecond)})) {
			t.Error("a call that can make it was refused")
		}
		cancel()
	})
}

func TestContextEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := one(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		end := come(ctx, l, limit.Ask{})
		cancel()
		ended(t, end, context.Canceled)
		next := come(t.Context(), l, limit.Ask{}) // there is room in the queue again
		l.Release()
		ended(t, next, nil)
	})
}

// TestContextEndsAsASlotComes: whichever wins, the slot is not lost.
func TestContextEndsAsASlotComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			l := one(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			end := come(ctx, l, limit.Ask{})
			cancel()
			l.Release()
			synctest.Wait()
			if err := <-end; (err == nil) != (l.InFlight() == 1) {
				t.Fatalf("%v, and %d in flight", err, l.InFlight())
			}
		}
	})
}

// TestNobodyOvertakesWhenTheLimitRises: nothing tells of a limit that is its owner's. The
// next who comes finds the room, and it goes to who waits.
func TestNobodyOvertakesWhenTheLimitRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known atomic.Int64
		known.Store(1)
		l := limit.NewLimiter(limit.Concurrency{Queue: limit.Queue{MaxWaiting: 2}}, func() int { return int(known.Load()) }, nil)
		fill(t, l, 1)
		first := come(t.Context(), l, limit.Ask{})
		known.Store(2)
		second := come(t.Context(), l, limit.Ask{})
		ended(t, first, nil)
		if !waits(second) {
			t.Error("one who came later has the room")
		}
		l.Release()
		ended(t, second, nil)
	})
}

// TestALimitThatRisesLetsWaitersIn: not only the next who comes.
func TestALimitThatRisesLetsWaitersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.NewLimiter(limit.Concurrency{
			Adaptive: limit.Adaptive{On: true, Initial: 4},
			Queue:    limit.Queue{MaxWaiting: 1, Interval: time.Hour},
		}, nil, nil)
		fill(t, l, 4)
		for range 40 { // a first window, and the dip that follows it
			time.Sleep(20 * time.Millisecond)
			l.Sample(limit.Sample{Elapsed: 20 * time.Millisecond, Outcome: limit.Success}, time.Now())
		}
		if l.Limit() <= 4 {
			t.Fatalf("limit %d: want more than 4", l.Limit())
		}
		fill(t, l, l.Limit()-l.InFlight())
		end := come(t.Context(), l, limit.Ask{})
		for range 50 {
			time.Sleep(20 * time.Millisecond)
			l.Sample(limit.Sample{Elapsed: 20 * time.Millisecond, Outcome: limit.Success}, time.Now())
			if !waits(end) {
				break
			}
		}
		ended(t, end, nil)
	})
}
