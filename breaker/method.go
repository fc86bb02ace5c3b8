package breaker

import (
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Method is the breaker of one method: it answers the method's callers at once while it
// fails wherever it is called, and leaves the service's other methods alone. It judges
// calls, not attempts. It is safe for concurrent use. Every now is the current time: the
// window of gobreaker reads the clock itself.
type Method struct {
	core
	policy MethodPolicy

	// slow counts slow calls as failures, and is a window only: it never opens. nil if
	// no call is slow. Guarded by mu, and so is slowWhy.
	slow    *gobreaker.CircuitBreaker[struct{}]
	slowWhy string // why too many calls are slow; "" if not

	given uint64 // trials; guarded by mu
}

// Entry is one call's passage through a [Method]. It is a value; the zero Entry is of no
// call.
type Entry struct {
	word  uint64
	trial uint64 // which one; 0: none
}

// NewMethod returns a closed breaker. p must be valid: see [MethodPolicy.Validate].
// changed, which may be nil, is told each change as [Hooks].Changed is.
func NewMethod(p MethodPolicy, changed func(Change)) *Method {
	p = p.WithDefaults()
	m := &Method{policy: p}
	m.setUp(settings{
		window: p.Window, trials: p.Trials, first: p.Open, longest: p.MaxOpen, jitter: p.Jitter, stepBack: p.StepBack,
		dryRun: p.DryRun, tell: changed, condemn: m.condemned, forget: m.forgetSlow,
	})
	m.forgetSlow()
	return m
}

// Enter reports whether a call may pass; it is one atomic load while the breaker is
// closed. Of the calls that come once an opening is over, one at a time passes, as a
// trial; one that has not ended after MethodPolicy.Open is lost, and the next passes.
// Whoever passed hands the Entry to [Method.Record] when the call has ended.
func (m *Method) Enter(now time.Time) (Entry, bool) {
	if word := m.word.Load(); Closed(word) {
		return Entry{word: word}, true
	}
	if !m.due(now) {
		return Entry{}, false
	}
	m.mu.Lock()
	ok := m.due(now) && m.halfOpen()
	if ok {
		m.given++
		m.dueAt.Store(m.instant(now.Add(m.policy.Open)))
	}
	e := Entry{m.word.Load(), m.given}
	m.mu.Unlock()
	m.deliver()
	if !ok {
		return Entry{}, false
	}
	return e, true
}

// Record counts the end of a call that passed with e, once per call: v is the verdict on
// what its caller got, elapsed how long that took from Enter, with all attempts and
// waits. A call that surecall itself refused later on is recorded with Ignored, since it
// may be a trial, which is then due again at once. What passed before the latest change
// of the breaker is dropped.
//
// A trial that is lost is not void: it counts if it ends while the breaker is still
// half-open, or a method that always takes longer than MethodPolicy.Open would never
// come back. The next one is due when the newest ends, whatever becomes of those before.
func (m *Method) Record(e Entry, v Verdict, elapsed time.Duration, now time.Time) {
	trial := e.trial != 0
	if v == Ignored && !trial || !m.live(e.word) {
		return
	}
	slow := m.policy.SlowCall > 0 && elapsed >= m.policy.SlowCall
	m.mu.Lock()
	before := m.word.Load()
	switch {
	case !m.live(e.word):
	case trial:
		m.recordTrial(e, v, slow, elapsed, now)
	case Decided(e.word) != StateClosed:
		m.rehearse(now, m.trialFailed(v, slow, elapsed))
	default:
		m.count(v, slow, now)
	}
	changed := m.word.Load() != before
	m.mu.Unlock()
	if changed {
		m.deliver()
	}
}

// live reports whether a call that passed with word still counts.
func (m *Method) live(word uint64) bool {
	return modeOf(word) == Automatic && sameEpoch(word, m.word.Load())
}

// RetryAfter returns how long the breaker rejects for certain: until the next trial. It
// is 0 while it is closed, while a trial runs, and while it is open by hand.
func (m *Method) RetryAfter(now time.Time) time.Duration {
	word := m.word.Load()
	if acted(word) != StateOpen || modeOf(word) != Automatic {
		return 0
	}
	return max(0, time.Duration(m.dueAt.Load()-m.instant(now)))
}

// State returns what the breaker does. In a dry run that is StateClosed, unless it was
// opened by hand: what it would do is in [Method.Counts].
func (m *Method) State() State { return acted(m.word.Load()) }

// Decided returns what the breaker is, in a dry run what it would be, with one atomic load.
func (m *Method) Decided() State { return Decided(m.word.Load()) }

// Reset makes the breaker as good as new: closed, with nothing remembered. It is for the
// end of an outage of the whole service, which opens the breaker of each of its methods,
// and none is to blame. Calls in flight no longer count. A mode set by hand stays.
func (m *Method) Reset() { m.reset() }

// SetMode forces the breaker open, disables it, or lets it decide again, which begins
// closed with nothing remembered: to close it by hand, set Automatic. Calls in flight no
// longer count.
func (m *Method) SetMode(mode Mode) { m.setMode(mode) }

// MethodCounts is a method breaker at one moment, for display. In a dry run State and
// the times are what they would be.
type MethodCounts struct {
	State  State // in a dry run: what it would be
	Mode   Mode  // set by hand
	DryRun bool  // as the policy says

	Requests int // in the window; while half-open, trials that succeeded
	Failures int // of them
	Slow     int // of them, failed or not
	Openings int // since the breaker was made, failed trials included, those by hand not

	// Of the opening that stands; zero while closed. A failed trial moves the end, not
	// the beginning. One by hand has no end.
	OpenSince, OpenUntil time.Time
}

// Counts returns what the breaker holds, for display.
func (m *Method) Counts() MethodCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	word, window := m.word.Load(), counted(m.inner)
	c := MethodCounts{
		State:     Decided(word),
		Mode:      modeOf(word),
		DryRun:    m.dryRun,
		Requests:  int(window.Requests),
		Failures:  int(window.TotalFailures),
		Openings:  m.openings,
		OpenSince: m.since,
		OpenUntil: m.until,
	}
	if m.slow != nil {
		c.Slow = int(counted(m.slow).TotalFailures)
	}
	return c
}

// The methods below require m.mu.

// recordTrial counts a trial. The newest may be running still: then none is due.
func (m *Method) recordTrial(e Entry, v Verdict, slow bool, elapsed time.Duration, now time.Time) {
	due := m.dueAt.Load()
	if v == Ignored {
		m.dueAt.Store(m.instant(now))
	} else {
		m.settle(now, m.trialFailed(v, slow, elapsed))
	}
	if e.trial != m.given && Decided(m.word.Load()) == StateHalfOpen {
		m.dueAt.Store(due)
	}
}

// count counts a call of a closed breaker. One that makes too many slow opens it as a
// failure would: gobreaker asks whether to open after failures only.
func (m *Method) count(v Verdict, slow bool, now time.Time) {
	switch {
	case m.slow == nil:
	case slow:
		_, _ = m.slow.Execute(fail)
	default:
		_, _ = m.slow.Execute(succeed)
	}
	if v == Success && m.slowWhy == "" {
		_, _ = m.inner.Execute(succeed)
	} else {
		m.failed(now)
	}
}

// condemned judges a closed breaker.
func (m *Method) condemned(window gobreaker.Counts) (why string) {
	if m.slowWhy != "" {
		return m.slowWhy
	}
	if tooMany(window, m.policy.MinRequests, m.policy.FailureRatio) {
		return fmt.Sprintf("%d of %d calls failed in %v", window.TotalFailures, window.Requests, m.policy.Window)
	}
	return ""
}

// forgetSlow begins the window of slow calls anew.
func (m *Method) forgetSlow() {
	m.slowWhy = ""
	if m.policy.SlowCall == 0 {
		return
	}
	m.slow = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Interval:     m.policy.Window,
		BucketPeriod: m.policy.Window / 10,
		ReadyToTrip: func(window gobreaker.Counts) bool {
			if tooMany(window, m.policy.MinRequests, m.policy.SlowRatio) {
				m.slowWhy = fmt.Sprintf("%d of %d calls took %v or more in %v",
					window.TotalFailures, window.Requests, m.policy.SlowCall, m.policy.Window)
			}
			return false
		},
	})
}

// trialFailed is why a trial failed, "" if it succeeded.
func (m *Method) trialFailed(v Verdict, slow bool, elapsed time.Duration) string {
	if v == Success && slow {
		return fmt.Sprintf("trial took %v", elapsed.Round(time.Millisecond))
	}
	return trialFailed(v)
}
