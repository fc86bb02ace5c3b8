package surecall

import (
	"sync"
	"sync/atomic"
	"time"
)

// alarm is a timer for one attempt at a time. It is used again: a timer made for each
// attempt, with its function, would be two allocations more.
type alarm struct {
	timer *time.Timer
	rings atomic.Pointer[unaryAttempt]
	over  atomic.Bool // it is off: who is ringing must not set it again
}

// alarms are a client's, and not the package's: a timer belongs to the clock that it
// was made under, which in a test is the test's own.
type alarms struct{ pool sync.Pool }

// set has a.ring called after d, and again after what it returns.
func (p *alarms) set(a *unaryAttempt, d time.Duration) *alarm {
	al, ok := p.pool.Get().(*alarm)
	if !ok {
		al = &alarm{}
		// It is set below: one that rings at once must find its own timer.
		al.timer = time.AfterFunc(forever, func() {
			if again := al.rings.Load().ring(); again > 0 && !al.over.Load() {
				al.timer.Reset(again)
			}
		})
	}
	al.rings.Store(a)
	al.over.Store(false)
	al.timer.Reset(d)
	return al
}

// off ends the alarm; nil is none. One that is ringing is not used again: it may ring
// once more, for an attempt that is over.
func (p *alarms) off(al *alarm) {
	if al == nil {
		return
	}
	al.over.Store(true)
	if al.timer.Stop() {
		al.rings.Store(nil)
		p.pool.Put(al)
	}
}
