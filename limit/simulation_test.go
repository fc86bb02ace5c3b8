package limit_test

import (
	"container/heap"
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/surecall/surecall/limit"
)

// site is a service with workers that serve in the order of arrival and queue without
// bound, and clients in front of it, each with its limiter and no queue of its own. Time
// is a number: nothing waits for real.
type site struct {
	workers  int
	service  func(r *rand.Rand) time.Duration
	load     float64 // calls per second of all clients
	shedAt   int     // it refuses at once when so many are queued; 0: never; −1: always
	limiters []*limit.Limiter

	rnd   *rand.Rand
	now   time.Duration // since the beginning
	next  time.Duration // when a call arrives
	ends  ends
	queue []attempt
	busy  int

	served int
	late   time.Duration // the sum of the latencies of those served
}

type attempt struct {
	client     int
	begun, end time.Duration
}

// ends is a heap of the attempts that workers are at.
type ends []attempt

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].end < e[j].end }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(attempt)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newSite(clients, workers int, service func(*rand.Rand) time.Duration, p limit.Concurrency) *site {
	s := &site{workers: workers, service: service, rnd: rand.New(rand.NewPCG(1, 2))}
	for range clients {
		s.limiters = append(s.limiters, limit.NewLimiter(p, nil, nil))
	}
	return s
}

// run lets that much time pass, and returns how many per second were served in it, and
// their mean latency.
func (s *site) run(d time.Duration) (goodput float64, latency time.Duration) {
	s.served, s.late = 0, 0
	for until := s.now + d; s.next < until; {
		if len(s.ends) > 0 && s.ends[0].end < s.next {
			a := heap.Pop(&s.ends).(attempt)
			s.now = a.end
			s.end(a)
			continue
		}
		s.now = s.next
		s.next += time.Duration(s.rnd.ExpFloat64() / s.load * 1e9)
		s.arrive()
	}
	return float64(s.served) / d.Seconds(), s.late / time.Duration(max(1, s.served))
}

func (s *site) arrive() {
	client := s.rnd.IntN(len(s.limiters))
	l := s.limiters[client]
	if !l.TryAcquire() && l.Acquire(context.Background(), limit.Ask{}, s.clock()) != nil {
		return
	}
	switch a := (attempt{client: client, begun: s.now}); {
	case s.busy < s.workers:
		s.serve(a)
	case s.shedAt != 0 && len(s.queue) >= s.shedAt:
		l.Sample(limit.Sample{Elapsed: time.Millisecond, Outcome: limit.Overload}, s.clock())
		l.Release()
	default:
		s.queue = append(s.queue, a)
	}
}

func (s *site) serve(a attempt) {
	s.busy++
	a.end = s.now + s.service(s.rnd)
	heap.Push(&s.ends, a)
}

func (s *site) end(a attempt) {
	s.served++
	s.busy--
	elapsed := s.now - a.begun
	s.late += elapsed
	l := s.limiters[a.client]
	l.Sample(limit.Sample{Elapsed: elapsed, Outcome: limit.Success}, s.clock())
	l.Release()
	for s.busy < s.workers && len(s.queue) > 0 {
		next := s.queue[0]
		s.queue = s.queue[1:]
		s.serve(next)
	}
}

// clock begins at a fixed time, so that every run is the same.
func (s *site) clock() time.Time { return time.Unix(1e9, int64(s.now)) }

func (s *site) limit() (sum int) {
	for _, l := range s.limiters {
		sum += l.Limit()
	}
	return sum
}

func constant(d time.Duration) func(*rand.Rand) time.Duration {
	return func(*rand.Rand) time.Duration { return d }
}

func exponential(d time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(d)) }
}

// lognormal has a heavy tail: its p99 is ten times its median.
func lognormal(mean time.Duration) func(*rand.Rand) time.Duration {
	median := float64(mean) / math.Exp(0.5)
	return func(r *rand.Rand) time.Duration {
		return time.Duration(math.Exp(r.NormFloat64()) * median)
	}
}
