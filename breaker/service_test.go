package breaker_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a moment of the tests that need no clock.
func at(d time.Duration) time.Time { return epoch.Add(d) }

const ms = time.Millisecond

// outage feeds s one failure each step from the first moment to the last.
func outage(s *breaker.Service, first, last, step time.Duration) {
	for d := first; d <= last; d += step {
		s.Failure(at(d))
	}
}

func TestServiceOpens(t *testing.T) {
	for _, c := range []struct {
		name string
		feed func(s *breaker.Service)
		want bool
	}{
		{"nothing for a second", func(s *breaker.Service) { outage(s, 0, time.Second, 50*ms) }, true},
		{"not yet a second", func(s *breaker.Service) { outage(s, 0, 999*ms, 9*ms) }, false},
		{"too few", func(s *breaker.Service) { outage(s, 0, 1900*ms, 100*ms+ms) }, false},
		{"just enough", func(s *breaker.Service) { outage(s, 0, 1900*ms, 100*ms) }, true},
		{"a trickle never has 20 in 2s", func(s *breaker.Service) { outage(s, 0, time.Hour, 110*ms) }, false},
		{"a burst", func(s *breaker.Service) { outage(s, 0, 0, 1); outage(s, 1, 1000, 1) }, false},
		{"a burst after an idle hour", func(s *breaker.Service) {
			s.Success(at(0))
			outage(s, time.Hour, time.Hour+100, 1)
		}, false},
		{"a burst an hour after a stray failure", func(s *breaker.Service) {
			s.Failure(at(0))
			outage(s, time.Hour, time.Hour+100, 1)
		}, false},
		{"bursts of callers that time out together", func(s *breaker.Service) {
			for n := range 3 {
				outage(s, time.Duration(n)*1500*ms, time.Duration(n)*1500*ms+20, 1)
			}
		}, true},
		{"one success starts it anew", func(s *breaker.Service) {
			outage(s, 0, 900*ms, 10*ms)
			s.Success(at(905 * ms))
			outage(s, 910*ms, 1900*ms, 10*ms)
		}, false},
		{"a dying service with a success each 500ms", func(s *breaker.Service) {
			for d := time.Duration(0); d < time.Minute; d += 500 * ms {
				s.Success(at(d))
				outage(s, d+ms, d+499*ms, ms)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := breaker.NewService(breaker.ServicePolicy{}, nil)
			c.feed(s)
			if got := s.Open(); got != c.want {
				t.Fatalf("open is %v, want %v", got, c.want)
			}
		})
	}
}

func TestServiceLetsOneTrialThroughEachInterval(t *testing.T) {
	s := breaker.NewService(breaker.ServicePolicy{}, nil)
	if ok, trial := s.Allow(at(0)); !ok || trial {
		t.Fatalf("closed: allowed %v, trial %v, want true, false", ok, trial)
	}
	outage(s, 0, time.Second, 10*ms)
	trials := 0
	for d := time.Second; d <= 2*time.Second; d += ms {
		ok, trial := s.Allow(at(d))
		if ok != trial {
			t.Fatalf("open: allowed %v, trial %v", ok, trial)
		}
		if ok {
			trials++
			s.Failure(at(d)) // a lost or failed trial delays nothing
		}
	}
	if trials != 20 {
		t.Fatalf("%d trials in a second, want 20", trials)
	}
}

func TestServiceClosesAtTheFirstSuccess(t *testing.T) {
	var told []bool
	s := breaker.NewService(breaker.ServicePolicy{}, func(c breaker.Change) {
		if c.Why == "" {
			t.Error("told no reason")
		}
		told = append(told, c.To == breaker.StateOpen)
	})
	for n := range 3 {
		start := time.Duration(n) * time.Minute
		before := s.Changed()
		outage(s, start, start+time.Second, 10*ms)
		select {
		case <-before:
		default:
			t.Fatal("Changed did not fire at the opening")
		}
		waiting := s.Changed()
		s.Success(at(start + 2*time.Second))
		s.Success(at(start + 2*time.Second))
		if s.Open() {
			t.Fatal("open after a success")
		}
		select {
		case <-waiting:
		default:
			t.Fatal("Changed did not fire at the closing")
		}
		outage(s, start+2*time.Second, start+2990*ms, 10*ms) // nothing is left of the last outage
		if s.Open() {
			t.Fatal("open again after less than a second")
		}
	}
	if len(told) != 6 {
		t.Fatalf("told %v, want three openings and closings", told)
	}
	for i, open := range told {
		if open != (i%2 == 0) {
			t.Fatalf("told %v, want openings and closings by turns", told)
		}
	}
}

// serviceReference keeps every failure of the run and counts anew each time.
type serviceReference struct {
	policy breaker.ServicePolicy
	mode   breaker.Mode
	open   bool
	run    []time.Time
	trial  time.Time
}

// shown reports whether the breaker acts as open.
func (r *serviceReference) shown() bool {
	return r.open && (!r.policy.DryRun || r.mode == breaker.ForcedOpen)
}

func (r *serviceReference) setMode(m breaker.Mode) {
	r.mode, r.open, r.run = m, m == breaker.ForcedOpen, nil
}

func (r *serviceReference) success() {
	if r.mode == breaker.Automatic {
		r.open, r.run = false, nil
	}
}

func (r *serviceReference) failure(now time.Time) {
	if r.open || r.mode != breaker.Automatic {
		return
	}
	if n := len(r.run); n > 0 && now.Sub(r.run[n-1]) > 2*r.policy.Quiet {
		r.run = nil
	}
	r.run = append(r.run, now)
	recent := 0
	for _, f := range r.run {
		if now.Sub(f) <= 2*r.policy.Quiet {
			recent++
		}
	}
	if now.Sub(r.run[0]) >= r.policy.Quiet && recent >= r.policy.MinFailures {
		r.open, r.trial = true, now.Add(r.policy.TrialInterval)
	}
}

func (r *serviceReference) allow(now time.Time) bool {
	if r.mode == breaker.Automatic && r.shown() && !now.Before(r.trial) {
		r.trial = now.Add(r.policy.TrialInterval)
		return true
	}
	return !r.shown()
}

func playService(t *testing.T, dryRun bool, program []byte) (openings int) {
	policy := breaker.ServicePolicy{MinFailures: 5, DryRun: dryRun}.WithDefaults()
	ref := &serviceReference{policy: policy}
	told := breaker.StateClosed // of the changes that acted
	s := breaker.NewService(policy, func(c breaker.Change) {
		if c.To == breaker.StateOpen && c.Mode == breaker.Automatic {
			openings++
		}
		if c.From != told && !c.DryRun {
			t.Fatalf("told of a change from %v, want from %v", c.From, told)
		}
		if !c.DryRun {
			told = c.To
		}
	})
	now := at(0)
	for n, op := range program {
		now = now.Add(time.Duration(op/8) * 20 * ms)
		switch op % 8 {
		case 0:
			now = now.Add(time.Duration(op) * 20 * ms)
		case 1:
			s.Success(now)
			ref.success()
		case 2:
			if mode := breaker.Mode(op / 8); mode <= breaker.Disabled || ref.mode != breaker.Automatic {
				s.SetMode(mode % 3)
				ref.setMode(mode % 3)
			}
		case 3:
			ok, trial := s.Allow(now)
			if want := ref.allow(now); ok != want || trial != (ref.shown() && want) {
				t.Fatalf("step %d: allowed %v, trial %v; want %v in %+v", n, ok, trial, want, ref)
			}
		default:
			s.Failure(now)
			ref.failure(now)
		}
		c := s.Counts()
		if s.Open() != ref.shown() || (c.State == breaker.StateOpen) != ref.open || c.Mode != ref.mode {
			t.Fatalf("step %d: open is %v, want %v: %+v, %+v", n, s.Open(), ref.shown(), c, ref)
		}
		if !ref.open && c.Failures != len(ref.run) {
			t.Fatalf("step %d: %d failures in a run, want %d", n, c.Failures, len(ref.run))
		}
		if s.Open() != (told == breaker.StateOpen) {
			t.Fatalf("step %d: open is %v, but the changes led to %v", n, s.Open(), told)
		}
	}
	return openings
}

func TestServiceModel(t *testing.T) {
	openings := 0
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		program := make([]byte, 300)
		for i := range program {
			program[i] = byte(rnd.Uint32())
			if program[i]%8 == 1 && rnd.IntN(4) > 0 {
				program[i] |= 4 // fewer successes, so that there are outages
			}
		}
		openings += playService(t, seed%4 == 0, program)
	}
	if openings < 1000 {
		t.Fatalf("the programs opened it %d times only: they test little", openings)
	}
}

func FuzzService(f *testing.F) {
	f.Add(false, []byte{252, 252, 252, 252, 252, 252, 27, 1, 4})
	f.Add(true, []byte{252, 252, 252, 252, 252, 252, 27, 1, 4})
	f.Add(false, []byte{10, 27, 4, 1, 27, 2, 27, 18, 4, 4, 27})
	f.Fuzz(func(t *testing.T, dryRun bool, program []byte) { playService(t, dryRun, program) })
}

func TestServiceHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := false // not synchronised: told one at a time, in order
		s := breaker.NewService(breaker.ServicePolicy{Quiet: 20 * ms, TrialInterval: ms}, func(c breaker.Change) {
			now := c.To == breaker.StateOpen
			if now == open {
				t.Errorf("told open=%v twice", now)
			}
			open = now
		})
		var down, rejected atomic.Bool
		var callers sync.WaitGroup
		for n := range 4 {
			callers.Go(func() {
				for i := range 1000 {
					if n == 0 && i%100 == 0 {
						down.Store(!down.Load())
					}
					waiting := s.Changed()
					switch ok, _ := s.Allow(time.Now()); {
					case !ok && n == 3:
						rejected.Store(true)
						if s.Open() {
							<-waiting
						}
					case !ok:
						rejected.Store(true)
					case down.Load():
						s.Failure(time.Now())
					default:
						s.Success(time.Now())
					}
					time.Sleep(ms)
				}
				s.Success(time.Now()) // so that nobody waits for ever
			})
		}
		callers.Wait()
		if s.Open() || open || !rejected.Load() {
			t.Fatalf("open %v, told %v, rejected %v; want false, false, true", s.Open(), open, rejected.Load())
		}
	})
}

func TestServiceSuccessAllocatesNothing(t *testing.T) {
	s := breaker.NewService(breaker.ServicePolicy{}, nil)
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() { s.Allow(now); s.Success(now) }); n != 0 {
		t.Errorf("Allow and Success allocate %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { s.Failure(now) }); n != 0 {
		t.Errorf("Failure allocates %v times", n)
	}
}

func BenchmarkService(b *testing.B) {
	s := breaker.NewService(breaker.ServicePolicy{}, nil)
	now := time.Now()
	b.Run("Allow and Success", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s.Allow(now)
				s.Success(now)
			}
		})
	})
	b.Run("Failure", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Failure(now)
		}
	})
}
