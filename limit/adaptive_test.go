package limit_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/surecall/surecall/limit"
)

var adaptive = limit.Concurrency{Adaptive: limit.Adaptive{On: true}}

// services are those of a mean of 50 ms: 100 workers serve 2000 per second.
var services = map[string]func(mean time.Duration) func(*rand.Rand) time.Duration{
	"constant":    constant,
	"exponential": exponential,
	"heavy tail":  lognormal,
}

// slowly reports whether a simulation with that service is left out of a short run and
// of one with the race detector, which has nothing to find in one goroutine.
func slowly(service string) bool {
	return service != "exponential" && (raceDetector || testing.Short())
}

const (
	workers  = 100
	mean     = 50 * time.Millisecond
	capacity = 2000.0
)

// TestAdaptiveSettles is the promise: whatever the load, for however long, nearly all of
// the capacity is used and the limit stays near it.
func TestAdaptiveSettles(t *testing.T) {
	for name, service := range services {
		if slowly(name) {
			continue
		}
		for _, c := range []struct {
			clients  int
			load     float64
			goodput  float64 // of the smaller of load and capacity
			most     int     // the sum of the limits; 0: it does not bind
			patience time.Duration
		}{
			{clients: 1, load: 0.5, goodput: 0.98, patience: 55 * time.Millisecond},
			{clients: 1, load: 1, goodput: 0.9, patience: 100 * time.Millisecond},
			{clients: 1, load: 3, goodput: 0.95, most: 200, patience: 100 * time.Millisecond},
			{clients: 3, load: 3, goodput: 0.95, most: 500, patience: 200 * time.Millisecond},
			{clients: 10, load: 3, goodput: 0.95, most: 900, patience: 400 * time.Millisecond},
		} {
			s := newSite(c.clients, workers, service(mean), adaptive)
			s.load = c.load * capacity
			s.run(20 * time.Second)
			for half := range 2 {
				goodput, latency := s.run(time.Minute)
				share := goodput / min(s.load, capacity)
				if share < c.goodput || latency > c.patience || c.most > 0 && s.limit() > c.most {
					t.Errorf("%s, %d clients, load %v, half minute %d: goodput %.3f, latency %v, limit %d: want at least %v, at most %v and %d",
						name, c.clients, c.load, half, share, latency, s.limit(), c.goodput, c.patience, c.most)
				}
			}
		}
	}
}

// TestWithoutLimitItCollapses shows that the simulation overloads the service: what
// TestAdaptiveSettles sees is the limit's doing.
func TestWithoutLimitItCollapses(t *testing.T) {
	s := newSite(1, workers, constant(mean), limit.Concurrency{Limit: 1_000_000})
	s.load = 3 * capacity
	s.run(10 * time.Second)
	if _, latency := s.run(10 * time.Second); latency < 5*time.Second {
		t.Errorf("latency %v after 10 s of three times the capacity: want seconds", latency)
	}
}

func TestAdaptiveFollowsTheService(t *testing.T) {
	for name, service := range services {
		if slowly(name) {
			continue
		}
		for _, clients := range []int{1, 3} {
			s := newSite(clients, workers, service(mean), adaptive)
			s.load = 3 * capacity
			s.run(33 * time.Second)
			check := func(what string, after time.Duration, capacity float64, most time.Duration) {
				t.Helper()
				s.run(after)
				goodput, latency := s.run(15 * time.Second)
				if share := goodput / capacity; share < 0.9 || latency > most {
					t.Errorf("%s, %d clients, %s: goodput %.3f, latency %v, limit %d: want at least 0.9, at most %v",
						name, clients, what, share, latency, s.limit(), most)
				}
			}
			s.service = service(2 * mean)
			check("the service takes twice as long for good", 4*time.Second, capacity/2, 8*mean)
			s.service = service(mean)
			check("it is as it was", 4*time.Second, capacity, 4*mean)
			s.workers = workers / 4
			check("three of four workers are gone", 10*time.Second, capacity/4, 4*mean)
			s.workers = workers
			check("they are back", 4*time.Second, capacity, 4*mean)
			s.load = capacity / 2
			check("the overload is over", 2*time.Second, capacity/2, 2*mean)
		}
	}
}

// TestAdaptiveAtASlowService: its round trip is longer than a dip, and ends are few.
func TestAdaptiveAtASlowService(t *testing.T) {
	for name, service := range services {
		for _, mean := range []time.Duration{time.Second, 3 * time.Second} {
			for _, clients := range []int{1, 2, 3} {
				s := newSite(clients, workers, service(mean), adaptive)
				capacity := workers / mean.Seconds()
				s.load = 3 * capacity
				s.run(2 * time.Minute)
				goodput, latency := s.run(10 * time.Minute)
				if share := goodput / capacity; share < 0.85 || latency > 2*mean {
					t.Errorf("%s, %v, %d clients: goodput %.3f, latency %v, limit %d: want at least 0.85, at most %v",
						name, mean, clients, share, latency, s.limit(), 2*mean)
				}
			}
		}
	}
}

// TestAdaptiveHeedsRefusals: a service that refuses what it cannot serve shows no
// latency.
func TestAdaptiveHeedsRefusals(t *testing.T) {
	s := newSite(1, workers, exponential(mean), adaptive)
	s.load, s.shedAt = 3*capacity, 1
	s.run(20 * time.Second)
	goodput, _ := s.run(time.Minute)
	if goodput < 0.9*capacity || s.limit() > 2*workers {
		t.Errorf("goodput %.0f, limit %d: want 1800, at most 200", goodput, s.limit())
	}
}

// TestAdaptiveDoesNotGrowUnused: no more than twice what is in flight.
func TestAdaptiveDoesNotGrowUnused(t *testing.T) {
	l := limit.NewLimiter(adaptive, nil, nil)
	now := time.Now()
	for range 100_000 {
		acquire(t, l, now)
		now = now.Add(time.Millisecond)
		l.Sample(limit.Sample{Elapsed: time.Millisecond, Outcome: limit.Success}, now)
		l.Release()
	}
	if l.Limit() != 20 {
		t.Errorf("limit %d after 100,000 calls one by one: want 20, where it began", l.Limit())
	}
}

func TestAdaptiveIgnoresWhatIsNoEvidence(t *testing.T) {
	l := limit.NewLimiter(adaptive, nil, nil)
	now := time.Now()
	for range 10_000 {
		for range 20 {
			if l.Acquire(context.Background(), limit.Ask{Priority: limit.Critical}, now) != nil {
				t.Fatal("no room for 20")
			}
		}
		now = now.Add(10 * time.Millisecond)
		for range 20 {
			l.Sample(limit.Sample{Elapsed: time.Hour, Outcome: limit.Ignored}, now)
			l.Release()
		}
	}
	if l.Limit() != 20 {
		t.Errorf("limit %d: want 20, where it began", l.Limit())
	}
}

// TestAdaptiveSurvivesAnOutage: no success at all, and then all as before.
func TestAdaptiveSurvivesAnOutage(t *testing.T) {
	s := newSite(1, workers, constant(mean), adaptive)
	s.load = capacity / 2
	s.run(10 * time.Second)
	s.shedAt, s.workers = -1, 0 // each is refused
	s.run(30 * time.Second)
	if least := s.limit(); least > 10 {
		t.Errorf("limit %d in an outage: want 10 at most", least)
	}
	s.shedAt, s.workers = 0, workers
	s.run(5 * time.Second)
	if goodput, _ := s.run(10 * time.Second); goodput < 0.95*s.load {
		t.Errorf("goodput %.0f of %.0f, 5 s after an outage: limit %d", goodput, s.load, s.limit())
	}
}

// TestAdaptiveStaysInItsBounds feeds it whatever there is.
func FuzzAdaptive(f *testing.F) {
	f.Add([]byte{1, 2, 3, 250, 9, 9, 9, 0, 77}, uint8(3), uint8(10))
	f.Fuzz(func(t *testing.T, ops []byte, least, more uint8) {
		p := limit.Adaptive{On: true, Min: 1 + int(least), Max: 1 + int(least) + int(more)}
		l := limit.NewLimiter(limit.Concurrency{Adaptive: p}, nil, nil)
		now := time.Now()
		for range 20 {
			for _, op := range ops {
				if !l.TryAcquire() {
					l.Release()
				}
				now = now.Add(time.Duration(op%16) * 20 * time.Millisecond)
				l.Sample(limit.Sample{
					Elapsed: time.Duration(op/16) * time.Duration(op/16) * time.Millisecond,
					Outcome: limit.Outcome(op % 3),
				}, now)
				if got := l.Limit(); got < p.Min || got > p.Max {
					t.Fatalf("limit %d: want %d to %d", got, p.Min, p.Max)
				}
			}
		}
	})
}

func acquire(t *testing.T, l *limit.Limiter, now time.Time) {
	t.Helper()
	if l.TryAcquire() {
		return
	}
	if err := l.Acquire(context.Background(), limit.Ask{}, now); err != nil {
		t.Fatal(err)
	}
}
