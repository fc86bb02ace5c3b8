package breaker_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

func TestOneOfManyCallsIsTheTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := breaker.NewMethod(breaker.MethodPolicy{}, nil)
		call(m, breaker.Failure, 0, 20)
		for range 50 {
			awaitTrial(m)
			var passed atomic.Int32
			var trial breaker.Entry
			var callers sync.WaitGroup
			for range 16 {
				callers.Go(func() {
					if e, ok := m.Enter(time.Now()); ok {
						passed.Add(1)
						trial = e
					}
				})
			}
			callers.Wait()
			if n := passed.Load(); n != 1 {
				t.Fatalf("%d calls passed, want 1", n)
			}
			m.Record(trial, breaker.Failure, 0, time.Now())
		}
	})
}

func TestMethodHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last, told := breaker.StateClosed, 0 // not synchronised: told one at a time
		m := breaker.NewMethod(breaker.MethodPolicy{Open: 10 * ms, MaxOpen: 10 * ms, SlowCall: 5 * ms}, func(c breaker.Change) {
			if c.From != last {
				t.Errorf("change %d is from %v, but the one before was to %v", told, c.From, last)
			}
			last = c.To
			told++
		})
		var callers sync.WaitGroup
		for n := range 64 {
			callers.Go(func() {
				for i := range 200 {
					if e, ok := m.Enter(time.Now()); ok {
						elapsed := time.Duration(n%8) * ms
						time.Sleep(elapsed)
						v := breaker.Failure
						if i/20%2 == 0 {
							v = breaker.Success
						}
						m.Record(e, v, elapsed, time.Now())
					}
					if n == 0 && i%50 == 49 {
						m.SetMode(breaker.Mode(i / 50 % 3))
					}
					m.Counts()
					time.Sleep(ms)
				}
			})
		}
		callers.Wait()
		if last != m.State() || told < 20 {
			t.Fatalf("%d changes told, the last to %v; the state is %v", told, last, m.State())
		}
	})
}

func TestMethodAllocatesNothing(t *testing.T) {
	m := breaker.NewMethod(breaker.MethodPolicy{SlowCall: time.Second}, nil)
	now := time.Now()
	for _, v := range []breaker.Verdict{breaker.Ignored, breaker.Success} {
		if n := testing.AllocsPerRun(1000, func() {
			e, _ := m.Enter(now)
			m.Record(e, v, ms, now)
		}); n != 0 {
			t.Errorf("a call that ends with %v allocates %v times", v, n)
		}
	}
	m.SetMode(breaker.ForcedOpen)
	if n := testing.AllocsPerRun(1000, func() { m.Enter(now); m.RetryAfter(now) }); n != 0 {
		t.Errorf("a rejection allocates %v times", n)
	}
}

func BenchmarkMethod(b *testing.B) {
	now := time.Now()
	b.Run("Enter", func(b *testing.B) {
		m := breaker.NewMethod(breaker.MethodPolicy{}, nil)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.Enter(now)
			}
		})
	})
	b.Run("Enter and Record", func(b *testing.B) {
		m := breaker.NewMethod(breaker.MethodPolicy{}, nil)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				e, _ := m.Enter(now)
				m.Record(e, breaker.Success, ms, now)
			}
		})
	})
	b.Run("rejection", func(b *testing.B) {
		m := breaker.NewMethod(breaker.MethodPolicy{}, nil)
		m.SetMode(breaker.ForcedOpen)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.Enter(now)
			}
		})
	})
}
