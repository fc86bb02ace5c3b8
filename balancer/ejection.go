package balancer

import (
	"cmp"
	"math"
	"slices"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// newBreaker returns a breaker for i, or nil if the policy has none. Requires Fleet.mu.
func (f *Fleet) newBreaker(i *Instance) *breaker.Instance {
	p := f.config.Load().Breaker
	if p == nil {
		return nil
	}
	var b *breaker.Instance
	b = breaker.NewInstance(*p, breaker.Hooks{
		MayEject: func() bool { return f.mayEject(i) },
		Changed: func(c breaker.Change) {
			i.tripping.Store(false)
			if i.breaker.Load() == b { // not one that Configure has replaced
				f.breakerChanged(i, c)
			}
		},
		Rand: f.chance,
	})
	if m := f.modes[i.id]; m != breaker.Automatic {
		b.SetMode(breakers(m))
	}
	return b
}

func (f *Fleet) breakerChanged(i *Instance, c breaker.Change) {
	if c.DryRun {
		if c.From == breaker.StateClosed && c.To == breaker.StateOpen {
			i.rehearsed.ejections.Add(1)
		}
		if f.listening() {
			f.emit(event.InstanceWouldChange{
				Service: f.config.Load().Service, Instance: i.id, Address: i.address,
				From: c.From.String(), To: c.To.String(), Why: c.Why,
			})
		}
		return
	}
	switch {
	case c.To == breaker.StateClosed && c.From != breaker.StateClosed:
		i.latency.forget() // slow start is what protects it now
		if i.downSince.Swap(0) > f.recovered.Load() {
			i.rampStart.Store(f.now())
		}
	case c.From == breaker.StateClosed && c.To == breaker.StateOpen:
		i.downSince.Store(f.now())
	}
	f.updateDue()
	f.show(i, c.Why)
	if c.From != breaker.StateHalfOpen || c.To != breaker.StateOpen {
		f.republish()
	}
}

// mayEject decides under the cap: an instance is ejected only if not more than the
// policy's share of the connected ones is out then. The count is taken from the set each
// time, never carried along.
func (f *Fleet) mayEject(i *Instance) bool {
	f.capMu.Lock()
	defer f.capMu.Unlock()
	connected, out := f.census(i)
	out += f.wouldBeOut(i)
	if float64(out+1) > f.maxEjected(connected) {
		return false
	}
	i.tripping.Store(true)
	return true
}

func (f *Fleet) maxEjected(connected int) float64 {
	p := f.config.Load().Breaker
	if p == nil {
		return math.Inf(1)
	}
	return p.WithDefaults().MaxEjectedRatio * float64(connected)
}

// census counts the connected instances, and those of them, other than judged, that are
// out: ejected or suspect. Those that were taken out by hand are neither: of what is left
// a share must serve.
func (f *Fleet) census(judged *Instance) (connected, out int) {
	for _, i := range *f.members.Load() {
		if i.conn.SubConn() == nil || i.has(forced) {
			continue
		}
		connected++
		if i != judged && (i.ejected() || i.tripping.Load() || i.has(suspected|hung)) {
			out++
		}
	}
	return connected, out
}

// wouldBeOut counts those that census does not, because the policy runs dry and they are
// not really ejected: or a dry run would tell of a fleet's end that the cap prevents.
func (f *Fleet) wouldBeOut(judged *Instance) (n int) {
	if p := f.config.Load().Breaker; p == nil || !p.DryRun {
		return 0
	}
	for _, i := range *f.members.Load() {
		if i == judged || i.conn.SubConn() == nil || i.has(forced|suspected|hung) {
			continue
		}
		if b := i.breaker.Load(); b != nil && !i.tripping.Load() && breaker.Decided(b.Word()) != breaker.StateClosed {
			n++
		}
	}
	return n
}

// enforceCap sends the longest ejected to their trials at once if connections came or
// went and the ejected are now too large a share.
func (f *Fleet) enforceCap() {
	if f.nextDue.Load() == 0 {
		return
	}
	type ejection struct {
		since   int64
		breaker *breaker.Instance
	}
	now := f.time(f.now())
	connected, waiting := 0, []ejection(nil)
	for _, i := range *f.members.Load() {
		if i.conn.SubConn() == nil || i.has(forced) {
			continue
		}
		connected++
		if b := i.breaker.Load(); b != nil && !breaker.Closed(b.Word()) && !b.Due(now) {
			waiting = append(waiting, ejection{i.downSince.Load(), b})
		}
	}
	slices.SortFunc(waiting, func(a, b ejection) int { return cmp.Compare(a.since, b.since) })
	for allowed := f.maxEjected(connected); float64(len(waiting)) > allowed; waiting = waiting[1:] {
		waiting[0].breaker.Expedite()
	}
	f.updateDue()
}

// updateDue finds who is ejected, and when the first of them is due for its trial.
func (f *Fleet) updateDue() {
	f.dueMu.Lock()
	defer f.dueMu.Unlock()
	next := int64(0)
	var ejected []*Instance
	for _, i := range *f.members.Load() {
		if b := i.breaker.Load(); b != nil && i.ejected() {
			ejected = append(ejected, i)
			until := int64(b.Counts().EjectedUntil.Sub(f.epoch)) + 1
			if next == 0 || until < next {
				next = max(until, 1)
			}
		}
	}
	f.ejected.Store(&ejected)
	f.nextDue.Store(next)
}
