package balancer

import (
	"time"

	"github.com/surecall/surecall/breaker"
)

const (
	// trialPatience is how long a due trial waits for a call that may be retried,
	// before any call is taken for it.
	trialPatience = 10 * time.Second
	// trialLife is when a trial whose call has no deadline counts as lost.
	trialLife = 30 * time.Second
	// dueRecheck is how soon a pick looks again for a due trial when it found none that
	// can be taken.
	dueRecheck = 10 * time.Millisecond
)

// trialIsDue reports whether a may be the trial of an instance that is due. Up to three
// atomic loads, one while nobody is ejected.
func (f *Fleet) trialIsDue(a *Attempt, now int64) bool {
	due := f.nextDue.Load()
	return due != 0 && now >= due && now >= f.nextLook.Load() && a.waited(now-due)
}

// waited reports whether a may find out about an instance that has waited for that since:
// at once if a can be retried elsewhere, any other unary call after trialPatience.
func (a *Attempt) waited(since int64) bool {
	return !a.Stream && (a.Retryable || since >= int64(trialPatience))
}

// takeTrial hands a's call to an ejected instance whose time is over, as its trial. The
// comparison of loads would never choose it.
func (f *Fleet) takeTrial(a *Attempt, now int64) (*Instance, breaker.Trial) {
	for _, i := range *f.ejected.Load() {
		if i.priority() > int(f.active.Load()) || a.tried(i) {
			continue
		}
		if trial, ok := f.tryTrial(i, a, now); ok {
			return i, trial
		}
	}
	f.nextLook.Store(now + int64(dueRecheck))
	return nil, breaker.Trial{}
}

// tryTrial makes a the trial of i if that is due.
func (f *Fleet) tryTrial(i *Instance, a *Attempt, now int64) (breaker.Trial, bool) {
	b := i.breaker.Load()
	if b == nil || i.conn.SubConn() == nil || i.marks.Load() != 0 || !b.Due(f.time(now)) || i.rests(now) || a.full(i) {
		return breaker.Trial{}, false
	}
	if !a.Retryable && !b.Due(f.time(now-int64(trialPatience))) {
		return breaker.Trial{}, false // another one has waited for that long
	}
	expires := f.time(now).Add(trialLife)
	if deadline, ok := a.Deadline(); ok && deadline.Before(expires) {
		expires = deadline
	}
	return b.TryTrial(f.time(now), expires)
}
