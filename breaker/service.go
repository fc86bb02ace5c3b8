package breaker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Service is the breaker of a whole service: it tells a service that is gone from one
// that is merely failing, and answers callers at once while it is gone. It is safe for
// concurrent use. It reads no clock: every now must come from the same one.
type Service struct {
	policy  ServicePolicy
	changed func(open bool, why string)
	origin  time.Time // instants are nanoseconds since it

	phase     atomic.Uint32
	nextTrial atomic.Int64 // while open

	mu      sync.Mutex // guards what follows, and every move of phase but failing to calm
	first   int64      // the first failure of the run
	latest  int64      // the latest one
	failed  int        // how many the run has
	recent  []int64    // the last MinFailures of them, a ring
	opened  int64
	closing chan struct{} // closed at the next opening or closing
	told    outbox[transition]
}

// The phases. Every success but the first after a failure finds calm, and leaves with
// one atomic load of a word that nobody writes.
const (
	calm    uint32 = iota // the last attempt that ended succeeded
	failing               // a run of failures is on
	open
)

type transition struct {
	open bool
	why  string
}

// NewService returns a closed breaker. p must be valid: see [ServicePolicy.Validate].
// changed, which may be nil, is told each opening and closing, in order, one at a time
// and with no lock held.
func NewService(p ServicePolicy, changed func(open bool, why string)) *Service {
	if changed == nil {
		changed = func(bool, string) {}
	}
	p = p.WithDefaults()
	return &Service{
		policy:  p,
		changed: changed,
		origin:  time.Now(),
		recent:  make([]int64, p.MinFailures),
		closing: make(chan struct{}),
	}
}

// Allow reports whether a call may pass: any while closed; while open, one in each
// TrialInterval, which is a trial. A trial needs no ending: a success closes the
// breaker whoever makes it, and a lost trial is followed by the next.
func (s *Service) Allow(now time.Time) (ok, trial bool) {
	if s.phase.Load() != open {
		return true, false
	}
	t, next := s.instant(now), s.nextTrial.Load()
	won := t >= next && s.nextTrial.CompareAndSwap(next, t+int64(s.policy.TrialInterval))
	return won, won
}

// Success tells of an attempt that succeeded. It ends the run of failures and closes an
// open breaker.
func (s *Service) Success(now time.Time) {
	switch s.phase.Load() {
	case calm:
		return
	case failing:
		s.phase.CompareAndSwap(failing, calm) // lost only to an opening; a trial will close it
		return
	}
	s.mu.Lock()
	if s.phase.CompareAndSwap(open, calm) {
		s.tell(false, fmt.Sprintf("an attempt succeeded after %v", s.since(s.opened, now)))
	}
	s.mu.Unlock()
	s.deliver()
}

// Failure tells of an attempt that failed or hangs. It opens the breaker when
//
//   - the run of failures, with no success between them, spans at least Quiet,
//   - at least MinFailures of it happened within the last 2×Quiet.
//
// A run that paused for more than 2×Quiet starts anew, so that a burst of failures
// after an idle hour is no outage however the hour began.
func (s *Service) Failure(now time.Time) {
	if s.phase.Load() == open {
		return
	}
	t := s.instant(now)
	s.mu.Lock()
	if s.phase.CompareAndSwap(calm, failing) || t-s.latest > int64(2*s.policy.Quiet) {
		s.first, s.latest, s.failed = t, t, 0
	}
	s.latest = max(t, s.latest)
	s.recent[s.failed%len(s.recent)] = t
	s.failed++
	if s.condemned(t) && s.phase.Load() == failing {
		s.nextTrial.Store(t + int64(s.policy.TrialInterval)) // before anyone can see it open
		if s.phase.CompareAndSwap(failing, open) {
			s.opened = t
			s.tell(true, fmt.Sprintf("no attempt succeeded for %v and %d failed", s.since(s.first, now), s.failed))
		}
	}
	s.mu.Unlock()
	s.deliver()
}

// Open reports whether the breaker is open, with one atomic load.
func (s *Service) Open() bool { return s.phase.Load() == open }

// Changed returns a channel that is closed at the next opening or closing. A call that
// waits for the breaker to close takes the channel first and asks [Service.Open] then.
func (s *Service) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// condemned requires s.mu.
func (s *Service) condemned(t int64) bool {
	if s.failed < len(s.recent) || t-s.first < int64(s.policy.Quiet) {
		return false
	}
	oldest := s.recent[s.failed%len(s.recent)]
	return t-oldest <= int64(2*s.policy.Quiet)
}

// tell requires s.mu.
func (s *Service) tell(open bool, why string) {
	close(s.closing)
	s.closing = make(chan struct{})
	s.told.put(transition{open, why})
}

func (s *Service) deliver() {
	s.told.deliver(func(t transition) { s.changed(t.open, t.why) })
}

func (s *Service) instant(t time.Time) int64 { return int64(t.Sub(s.origin)) }

func (s *Service) since(instant int64, now time.Time) time.Duration {
	return time.Duration(s.instant(now) - instant).Round(time.Millisecond)
}
