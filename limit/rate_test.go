package limit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/limit"
)

func TestRateByPriority(t *testing.T) {
	for _, c := range []struct {
		burst    int
		priority limit.Priority
		want     int
		why      error
	}{
		{1, limit.Sheddable, 1, limit.ErrRate},
		{1, limit.Normal, 1, limit.ErrRate},
		{2, limit.Sheddable, 1, limit.ErrShed},
		{40, limit.Sheddable, 20, limit.ErrShed},
		{40, limit.Normal, 38, limit.ErrShed},
		{40, limit.Critical, 40, limit.ErrRate},
	} {
		now := time.Unix(0, 0)
		l := limit.NewRateLimiter(limit.Rate{PerSecond: 10, Burst: c.burst}, now)
		got, err := 0, error(nil)
		for {
			if err = l.Take(t.Context(), limit.Ask{Priority: c.priority}, now); err != nil {
				break
			}
			got++
		}
		refused, ok := errors.AsType[*limit.RateError](err)
		if got != c.want || !ok || !errors.Is(err, limit.ErrRate) || !errors.Is(err, c.why) || !errors.Is(err, limit.ErrExceeded) {
			t.Errorf("%+v: %d, %v", c, got, err)
			continue
		}
		if over := refused.RetryAfter - 100*time.Millisecond; over < 0 || over > time.Microsecond {
			t.Errorf("%+v: retry after %v: want 100ms", c, refused.RetryAfter)
		}
		now = now.Add(refused.RetryAfter)
		if err := l.Take(t.Context(), limit.Ask{Priority: c.priority}, now); err != nil {
			t.Errorf("%+v: %v, when it said", c, err)
		}
	}
}

func TestRateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l := limit.NewRateLimiter(limit.Rate{PerSecond: 10, Burst: 1, Wait: true, MaxWait: 500 * time.Millisecond}, begin)
		take := func(ctx context.Context, ask limit.Ask) error { return l.Take(ctx, ask, time.Now()) }
		var all sync.WaitGroup
		for i := range 3 { // at 0, 100 and 200 ms
			all.Go(func() {
				if err := take(t.Context(), limit.Ask{}); err != nil {
					t.Error(err)
				}
				if at := time.Since(begin).Round(time.Millisecond); at != time.Duration(i)*100*time.Millisecond {
					t.Errorf("call %d at %v", i, at)
				}
			})
			synctest.Wait()
		}
		for _, c := range []struct {
			ask  limit.Ask
			want error
		}{
			{limit.Ask{}, limit.ErrRate}, // 300 ms, and it waits 250 at most
			{limit.Ask{Priority: limit.Sheddable}, limit.ErrRate},
			{limit.Ask{Priority: limit.Critical, Deadline: begin.Add(400 * time.Millisecond), Need: 101 * time.Millisecond}, limit.ErrNoTime},
		} {
			if err := take(t.Context(), c.ask); !errors.Is(err, c.want) {
				t.Errorf("%+v: %v, want %v", c.ask, err, c.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if err := take(ctx, limit.Ask{Priority: limit.Critical}); err != context.Canceled {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		all.Go(func() { // has the turn that was given back
			if err := take(t.Context(), limit.Ask{Priority: limit.Critical}); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		if at := time.Since(begin).Round(time.Millisecond); at != 300*time.Millisecond {
			t.Errorf("the last at %v, want 300ms", at)
		}
	})
}

// TestGivingUpUsesUpNoRate: callers that stay for 400 ms, when the wait is half a second.
// With a turn that was lost for each of them, 81 passed.
func TestGivingUpUsesUpNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.NewRateLimiter(limit.Rate{PerSecond: 100, Burst: 1, Wait: true}, time.Now())
		var passed atomic.Int64
		var all sync.WaitGroup
		for range 6000 { // 200 per second for 30 s
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(400*time.Millisecond, cancel).Stop()
				defer cancel()
				if l.Take(ctx, limit.Ask{}, time.Now()) == nil {
					passed.Add(1)
				}
			})
			time.Sleep(5 * time.Millisecond)
		}
		all.Wait()
		if n := passed.Load(); n < 2990 || n > 3050 {
			t.Errorf("%d passed: want the 3000 of the rate", n)
		}
	})
}

// TestThoseBehindMoveUp when one gives up, whichever: at its turn, not before and not
// beside another.
func TestThoseBehindMoveUp(t *testing.T) {
	for out := range 4 {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			l := limit.NewRateLimiter(limit.Rate{PerSecond: 10, Burst: 1, Wait: true}, begin)
			if err := l.Take(t.Context(), limit.Ask{}, begin); err != nil {
				t.Fatal(err)
			}
			var at [4]time.Duration
			var cancels [4]context.CancelFunc
			var all sync.WaitGroup
			for n := range at {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cancels[n] = cancel
				all.Go(func() {
					if l.Take(ctx, limit.Ask{}, time.Now()) == nil {
						at[n] = time.Since(begin).Round(time.Millisecond)
					}
				})
				synctest.Wait()
			}
			time.Sleep(50 * time.Millisecond)
			cancels[out]()
			all.Wait()
			turn := 100 * time.Millisecond
			for n, got := range at {
				switch {
				case n == out && got != 0:
					t.Errorf("%d gave up and passed at %v", n, got)
				case n != out && got != turn:
					t.Errorf("%d gave up; %d at %v, want %v", out, n, got, turn)
				case n != out:
					turn += 100 * time.Millisecond
				}
			}
		})
	}
}

// TestALateTimerCostsNoRate: each token is given away as of when it came.
func TestALateTimerCostsNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l := limit.NewRateLimiter(limit.Rate{PerSecond: 1000, Burst: 1, Wait: true}, begin)
		var all sync.WaitGroup
		for range 11 {
			all.Go(func() {
				if err := l.Take(t.Context(), limit.Ask{}, begin); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		// As if no timer had run until now: whoever comes is behind those 10.
		if err := l.Take(t.Context(), limit.Ask{Priority: limit.Sheddable}, begin.Add(10500*time.Microsecond)); !errors.Is(err, limit.ErrRate) {
			t.Errorf("before the next token: %v", err)
		}
		all.Wait()
		if past := time.Since(begin); past != 0 {
			t.Errorf("all have passed after %v: want by then", past)
		}
		if err := l.Take(t.Context(), limit.Ask{Priority: limit.Sheddable}, begin.Add(11001*time.Microsecond)); err != nil {
			t.Errorf("when the next has come: %v", err)
		}
	})
}

// TestRateWithClocksOutOfOrder: what x/time/rate alone would pay twice. Callers read
// their clocks, and then some of them are held up.
func TestRateWithClocksOutOfOrder(t *testing.T) {
	now := time.Unix(0, 0)
	l := limit.NewRateLimiter(limit.Rate{PerSecond: 100, Burst: 10}, now)
	passed := 0
	for range 1000 { // 10 s, in which every other caller is 9 ms late
		now = now.Add(10 * time.Millisecond)
		for _, at := range []time.Time{now, now.Add(-9 * time.Millisecond)} {
			if l.Take(t.Context(), limit.Ask{Priority: limit.Critical}, at) == nil {
				passed++
			}
		}
	}
	if passed > 1010 {
		t.Errorf("%d calls in 10 s: want 1010 at most", passed)
	}
}

func TestRateManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l := limit.NewRateLimiter(limit.Rate{PerSecond: 1000, Burst: 10, Wait: true}, begin)
		var passed atomic.Int64
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range 50 {
					if l.Take(t.Context(), limit.Ask{}, time.Now()) == nil {
						passed.Add(1)
					} else {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		all.Wait()
		if most := 11 + 1000*time.Since(begin).Seconds(); float64(passed.Load()) > most {
			t.Errorf("%d calls in %v: want %.0f at most", passed.Load(), time.Since(begin), most)
		}
	})
}

// FuzzRate: over no stretch of time more than the burst and what came in, and no call is
// refused for which there was a token.
func FuzzRate(f *testing.F) {
	f.Add(uint8(10), uint8(5), []byte{0, 1, 2, 3, 100, 200, 0, 0, 0, 0, 0, 60, 60, 60})
	f.Fuzz(func(t *testing.T, perSecond, burst uint8, ops []byte) {
		p := limit.Rate{PerSecond: 1 + float64(perSecond), Burst: 1 + int(burst)}
		now := time.Unix(0, 0)
		l := limit.NewRateLimiter(p, now)
		tokens := float64(p.Burst)
		keep := map[limit.Priority]int{limit.Sheddable: p.Burst / 2, limit.Normal: p.Burst / 20, limit.Critical: 0}
		for _, op := range ops {
			step := time.Duration(op/3) * time.Millisecond
			now = now.Add(step)
			tokens = min(tokens+p.PerSecond*step.Seconds(), float64(p.Burst))
			priority := limit.Priority(op%3) - 1
			over := tokens - float64(1+keep[priority])
			err := l.Take(context.Background(), limit.Ask{Priority: priority}, now)
			if err == nil {
				tokens--
			}
			const hair = 1e-6
			if err == nil && over < -hair || err != nil && over > hair {
				t.Fatalf("%v with %v tokens to spare: %v", priority, over, err)
			}
			if refused, ok := errors.AsType[*limit.RateError](err); ok {
				if off := refused.RetryAfter.Seconds() + over/p.PerSecond; off > hair || off < -hair {
					t.Fatalf("%v tokens too few, and the next in %v", -over, refused.RetryAfter)
				}
			}
		}
	})
}
