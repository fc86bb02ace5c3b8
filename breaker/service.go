package breaker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Service is the breaker of a whole service: it tells a service that is gone from one
// that is merely failing, and answers callers at once while it is gone. It is safe for
// concurrent use. Every now must come from the same clock, of which it reads nothing but
// when its mode was set.
type Service struct {
	policy  ServicePolicy
	changed func(Change)
	origin  time.Time // instants are nanoseconds since it

	phase     atomic.Uint32
	nextTrial atomic.Int64 // while open

	mu      sync.Mutex // guards what follows, and every move of phase but failing to calm
	first   int64      // the first failure of the run
	latest  int64      // the latest one
	failed  int        // how many the run has
	recent  []int64    // the last MinFailures of them, a ring
	opened  int64
	closing chan struct{} // closed at the next change
	told    outbox[Change]
}

// The phases; calls pass in all before open. Every success but the first after a failure
// finds calm, and leaves with one atomic load of a word that nobody writes.
const (
	calm      uint32 = iota // the last attempt that ended succeeded
	failing                 // a run of failures is on
	wouldOpen               // it would be open, were this no dry run
	disabled
	open
	forced // open by hand
)

// NewService returns a closed breaker. p must be valid: see [ServicePolicy.Validate].
// changed, which may be nil, is told each opening, closing and change of mode, in order,
// one at a time and with no lock held.
func NewService(p ServicePolicy, changed func(Change)) *Service {
	if changed == nil {
		changed = func(Change) {}
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
// breaker whoever makes it, and a lost trial is followed by the next. While it is open
// by hand, none.
func (s *Service) Allow(now time.Time) (ok, trial bool) {
	switch phase := s.phase.Load(); {
	case phase < open:
		return true, false
	case phase == forced:
		return false, false
	}
	t, next := s.instant(now), s.nextTrial.Load()
	won := t >= next && s.nextTrial.CompareAndSwap(next, t+int64(s.policy.TrialInterval))
	return won, won
}

// Success tells of an attempt that succeeded. It ends the run of failures and closes an
// open breaker, but not one that is open by hand. So a dry run ends its openings with
// the same rule: there, any attempt is as good as a trial.
func (s *Service) Success(now time.Time) {
	switch s.phase.Load() {
	case calm, disabled, forced:
		return
	case failing:
		s.phase.CompareAndSwap(failing, calm) // lost only to an opening; a trial will close it
		return
	}
	s.mu.Lock()
	if s.phase.CompareAndSwap(s.opening(), calm) {
		s.tell(Change{
			From: StateOpen, To: StateClosed, DryRun: s.policy.DryRun,
			Why: fmt.Sprintf("an attempt succeeded after %v", s.since(s.opened, now)),
		})
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
	if phase := s.phase.Load(); phase != calm && phase != failing {
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
		if s.phase.CompareAndSwap(failing, s.opening()) {
			s.opened = t
			s.tell(Change{
				From: StateClosed, To: StateOpen, DryRun: s.policy.DryRun,
				Why: fmt.Sprintf("no attempt succeeded for %v and %d failed", s.since(s.first, now), s.failed),
			})
		}
	}
	s.mu.Unlock()
	s.deliver()
}

// Open reports whether the breaker is open, with one atomic load. In a dry run it is
// not, unless by hand: what it would be is in [Service.Counts].
func (s *Service) Open() bool { return s.phase.Load() >= open }

// Decided returns what the breaker is, in a dry run what it would be, with one atomic load.
func (s *Service) Decided() State { return decided(s.phase.Load()) }

// SetMode forces the breaker open, disables it, or lets it decide again, which begins
// closed with nothing remembered: to close it by hand, set Automatic.
func (s *Service) SetMode(m Mode) {
	phase := calm
	switch m {
	case ForcedOpen:
		phase = forced
	case Disabled:
		phase = disabled
	default:
		m = Automatic
	}
	s.mu.Lock()
	was := s.phase.Swap(phase)
	if phase == forced && was < open {
		s.opened = s.instant(time.Now()) // only shown
	}
	c := Change{From: shown(was), To: shown(phase), Mode: m, Why: m.byHand()}
	if s.policy.DryRun && c.From == c.To {
		c.From, c.To, c.DryRun = decided(was), decided(phase), true
	}
	if c.From != c.To || modeIn(was) != m {
		s.tell(c)
	}
	s.mu.Unlock()
	s.deliver()
}

// ServiceCounts is a service breaker at one moment, for display. In a dry run State and
// OpenSince are what they would be.
type ServiceCounts struct {
	State  State // never half-open
	Mode   Mode  // set by hand
	DryRun bool  // as the policy says

	Failures  int       // of the run without a success that is on, or that opened it
	OpenSince time.Time // zero while closed
}

// Counts returns what the breaker holds, for display.
func (s *Service) Counts() ServiceCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	phase := s.phase.Load()
	c := ServiceCounts{State: decided(phase), Mode: modeIn(phase), DryRun: s.policy.DryRun}
	if phase == failing || phase == wouldOpen || phase == open {
		c.Failures = s.failed
	}
	if c.State == StateOpen {
		c.OpenSince = s.origin.Add(time.Duration(s.opened))
	}
	return c
}

// Changed returns a channel that is closed at the next change. A call that waits for the
// breaker to close takes the channel first and asks [Service.Open] then.
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
func (s *Service) tell(c Change) {
	close(s.closing)
	s.closing = make(chan struct{})
	s.told.put(c)
}

func (s *Service) deliver() { s.told.deliver(s.changed) }

// opening is the phase in which the breaker is open, by itself.
func (s *Service) opening() uint32 {
	if s.policy.DryRun {
		return wouldOpen
	}
	return open
}

// decided is what a phase is, shown what it does: they differ in a dry run.
func decided(phase uint32) State {
	if phase == wouldOpen {
		return StateOpen
	}
	return shown(phase)
}

func shown(phase uint32) State {
	if phase < open {
		return StateClosed
	}
	return StateOpen
}

func modeIn(phase uint32) Mode {
	switch phase {
	case forced:
		return ForcedOpen
	case disabled:
		return Disabled
	default:
		return Automatic
	}
}

func (s *Service) instant(t time.Time) int64 { return int64(t.Sub(s.origin)) }

func (s *Service) since(instant int64, now time.Time) time.Duration {
	return time.Duration(s.instant(now) - instant).Round(time.Millisecond)
}
