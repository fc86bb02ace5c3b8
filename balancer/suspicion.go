package balancer

import "time"

// suspicion is how long a suspect is passed over before one call, that can be retried
// elsewhere, is sent to see whether it answers again.
const suspicion = time.Second

// Suspect notes that an attempt has waited on i, for waited and in vain. If i has
// answered nobody meanwhile, calls pass it over from now on, until it answers anything
// at all, an error too, or has a new connection. There is no cap on suspects: while
// nobody else is eligible, they serve.
func (f *Fleet) Suspect(i *Instance, waited time.Duration, now int64) {
	if i.latency.progress.Load() > now-int64(waited)*9/10 {
		return // it is slow with this one, but it lives
	}
	until := now + int64(suspicion)
	fresh := i.suspectUntil.Swap(until) == 0
	f.recheckAt(until)
	if fresh {
		f.show(i, "calls wait on it and nothing comes back")
		f.republish()
	}
}

// Progress notes that i has answered.
func (f *Fleet) Progress(i *Instance, now int64) {
	i.latency.progress.Store(now)
	if i.suspectUntil.Load() != 0 && i.suspectUntil.Swap(0) != 0 {
		i.latency.forget() // what it was charged while it hung would keep calls away for a minute
		f.show(i, "it answers again")
		f.republish()
	}
}

// recheck hands a's call to a suspect that has been passed over for long enough. Of all
// calls that come then, one gets it.
func (f *Fleet) recheck(a *Attempt, now int64) *Instance {
	f.nextRecheck.Store(0) // before the look, so that no suspect that comes meanwhile is lost
	next := int64(0)
	var found *Instance
	for _, i := range *f.members.Load() {
		until := i.suspectUntil.Load()
		if until == 0 {
			continue
		}
		if found == nil && until <= now && a.waited(now-until) && i.conn.SubConn() != nil && !i.ejected() && !a.tried(i) &&
			i.suspectUntil.CompareAndSwap(until, now+int64(suspicion)) {
			found, until = i, now+int64(suspicion)
		}
		if next == 0 || until < next {
			next = until
		}
	}
	if next != 0 {
		f.recheckAt(next)
	}
	if found == nil { // one that is due but has no connection must not make every pick look
		f.recheckLook.Store(now + int64(dueRecheck))
	}
	return found
}

// recheckIsDue reports whether a may be the one that looks at a suspect again. Up to
// three atomic loads, one while there is no suspect.
func (f *Fleet) recheckIsDue(a *Attempt, now int64) bool {
	next := f.nextRecheck.Load()
	return next != 0 && now >= next && now >= f.recheckLook.Load() && a.waited(now-next)
}

// recheckAt has recheck called at t, or earlier if that is due.
func (f *Fleet) recheckAt(t int64) {
	for next := f.nextRecheck.Load(); next == 0 || t < next; next = f.nextRecheck.Load() {
		if f.nextRecheck.CompareAndSwap(next, t) {
			return
		}
	}
}

// suspect reports whether calls wait on i and nothing comes back. One atomic load.
func (i *Instance) suspect() bool { return i.suspectUntil.Load() != 0 }
