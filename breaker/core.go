package breaker

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// core is what the breakers of an instance and of a method share: gobreaker, openings
// that grow, trials that may be lost, modes, and a dry run. What condemns is its owner's.
type core struct {
	settings
	origin time.Time // instants are nanoseconds since it, on the monotonic clock

	word  atomic.Uint64
	dueAt atomic.Int64 // open: when a trial is due; half-open: when the running one is lost

	mu        sync.Mutex // guards what follows, and every write of word and dueAt
	inner     *gobreaker.CircuitBreaker[struct{}]
	tripping  string // why inner opened; set by readyToTrip
	doublings int    // of the next opening
	openings  int
	closedAt  time.Time
	since     time.Time
	until     time.Time
	changes   outbox[Change]
}

// settings are what a core is made with. rand and tell may be nil; condemn and forget
// are called with mu held.
type settings struct {
	window         time.Duration
	trials         int // successes that close
	first, longest time.Duration
	jitter         float64
	stepBack       time.Duration
	dryRun         bool
	rand           func() float64
	tell           func(Change)
	condemn        func(gobreaker.Counts) (why string) // asked after each failure; "" acquits
	forget         func()                              // drops what the owner counted: an epoch ends
}

func (c *core) setUp(s settings) {
	if s.rand == nil {
		s.rand = rand.Float64
	}
	if s.tell == nil {
		s.tell = func(Change) {}
	}
	now := time.Now()
	c.settings, c.origin, c.closedAt = s, now, now
	c.word.Store(nextWord(0, StateClosed, Automatic, s.dryRun))
	c.inner = c.newInner()
}

// innerTimeout is gobreaker's own open time, and so the least an opening can last.
// gobreaker's is fixed and ours are not, so its is made so short that ours decides.
const innerTimeout = time.Millisecond

// never is the instant at which an opening by hand is due for a trial.
const never = math.MaxInt64

// newInner returns gobreaker's half: the window while closed, and the three states.
func (c *core) newInner() *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  uint32(c.trials),
		Interval:     c.window,
		BucketPeriod: c.window / 10,
		Timeout:      innerTimeout,
		ReadyToTrip: func(counts gobreaker.Counts) bool { // under gobreaker's lock as well
			c.tripping = c.condemn(counts)
			return c.tripping != ""
		},
	})
}

// succeed and fail are what gobreaker executes: what it judges is already over.
func succeed() (struct{}, error) { return struct{}{}, nil }
func fail() (struct{}, error)    { return struct{}{}, errFailed }

var errFailed = errors.New("breaker: it failed")

// counted is what inner's window holds as of now: State makes it drop what is too old,
// Counts alone does not.
func counted(inner *gobreaker.CircuitBreaker[struct{}]) gobreaker.Counts {
	inner.State()
	return inner.Counts()
}

// counts reports whether what passed with word is judged now that it ends: it passed
// unforced, and nothing has changed since.
func (c *core) counts(word uint64) bool {
	return Closed(word) && modeOf(word) == Automatic && sameEpoch(word, c.word.Load())
}

// due reports whether a trial may be taken.
func (c *core) due(now time.Time) bool {
	return !Closed(c.word.Load()) && c.instant(now) >= c.dueAt.Load()
}

// The methods below require c.mu, except reset, setMode, deliver and instant.

// failed counts a failure in the window, and opens the breaker if that condemns it.
func (c *core) failed(now time.Time) {
	_, _ = c.inner.Execute(fail)
	if c.tripping != "" {
		c.open(now, c.tripping)
		c.tripping = ""
	}
}

// halfOpen makes way for a trial. It fails in the first millisecond of an opening.
func (c *core) halfOpen() bool {
	if Decided(c.word.Load()) == StateHalfOpen {
		return true
	}
	if c.inner.State() != gobreaker.StateHalfOpen {
		return false
	}
	c.move(StateHalfOpen, Automatic, "trial")
	return true
}

// settle counts a trial: why is "" if it succeeded. gobreaker is asked and told in one
// step, so that it never waits for a trial: one that is lost cannot wedge it.
func (c *core) settle(now time.Time, why string) {
	if why != "" {
		_, _ = c.inner.Execute(fail)
		c.open(now, why)
		return
	}
	_, _ = c.inner.Execute(succeed)
	if c.inner.State() == gobreaker.StateClosed {
		c.close(now, Automatic, "trial succeeded")
		return
	}
	c.dueAt.Store(c.instant(now)) // the next one, at once
}

// rehearse counts what ends in a dry run while the breaker would be open: from when it
// would let trials through, what ends is taken for one.
func (c *core) rehearse(now time.Time, why string) {
	if c.instant(now) >= c.dueAt.Load() && c.halfOpen() {
		c.settle(now, why)
	}
}

// open opens the breaker, from closed or after a failed trial.
func (c *core) open(now time.Time, why string) {
	if Decided(c.word.Load()) == StateClosed {
		c.doublings = max(0, c.doublings-int(now.Sub(c.closedAt)/c.stepBack))
		c.since = now
	}
	span := c.first << c.doublings
	if span < c.longest {
		c.doublings++ // not further: each one takes a stepBack to undo
	} else {
		span = c.longest
	}
	jitter := c.jitter * (2*c.rand() - 1)
	c.until = now.Add(span + time.Duration(jitter*float64(span)))
	c.openings++
	c.dueAt.Store(c.instant(c.until))
	c.move(StateOpen, Automatic, why)
}

// close closes the breaker. From closed it only moves the epoch.
func (c *core) close(now time.Time, mode Mode, why string) {
	c.closedAt = now
	c.since, c.until = time.Time{}, time.Time{}
	c.move(StateClosed, mode, why)
}

// renew forgets all, and closes the breaker if nobody forces it open.
func (c *core) renew(now time.Time, mode Mode, why string) {
	c.inner = c.newInner()
	c.doublings = 0
	if mode != ForcedOpen {
		c.close(now, mode, why)
		return
	}
	if Closed(c.word.Load()) {
		c.since = now
	}
	c.until = time.Time{}
	c.dueAt.Store(never) // before anyone can see it open
	c.move(StateOpen, mode, why)
}

func (c *core) reset() {
	c.mu.Lock()
	if modeOf(c.word.Load()) == Automatic {
		c.renew(time.Now(), Automatic, "reset")
	}
	c.mu.Unlock()
	c.deliver()
}

func (c *core) setMode(m Mode) {
	if m != ForcedOpen && m != Disabled {
		m = Automatic
	}
	c.mu.Lock()
	c.renew(time.Now(), m, m.byHand())
	c.mu.Unlock()
	c.deliver()
}

// move enters state and mode, in a new epoch.
func (c *core) move(to State, mode Mode, why string) {
	from := c.word.Load()
	word := nextWord(from, to, mode, c.dryRun)
	c.forget()
	c.word.Store(word)
	if Decided(from) == to && modeOf(from) == mode && from&overruledBit == 0 {
		return
	}
	change := Change{From: acted(from), To: acted(word), Mode: mode, Why: why}
	if c.dryRun && change.From == change.To {
		change.From, change.To, change.DryRun = Decided(from), to, true
	}
	if change.To == StateOpen {
		change.Until = c.until
	}
	c.changes.put(change)
}

func (c *core) deliver() { c.changes.deliver(c.tell) }

func (c *core) instant(t time.Time) int64 { return int64(t.Sub(c.origin)) }
