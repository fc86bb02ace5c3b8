package balancer

// Off says which of a fleet's protections are switched off for now. What they know is kept
// for when they are on again, where it can still be true then: breakers stand still, limits
// know who is in flight, health is listened to. Whoever hangs, leaves or has too much to do
// is found out anew; whoever was only there because the source was doubted is gone.
type Off struct {
	Breaker       bool // no instance is ejected for its failures
	Concurrency   bool // of instances: neither their attempts nor their streams are limited
	HealthWatch   bool // what instances say of their health is not heeded
	HangDetection bool // nobody is suspected, probed or ejected for hanging
	Draining      bool // the mark of those that leave is not heeded
	SlowStart     bool // who is new or back has its full share
	Yield         bool // who says it has too much to do gets its full share
	Doubt         bool // who is no longer listed is gone at once
}

// applyOff has what was switched off or on since before act no more, or again.
func (f *Fleet) applyOff(before Off) {
	off := f.config.Load().Off
	if off == before {
		return
	}
	f.mu.Lock()
	for _, i := range f.store {
		f.equip(i)
	}
	f.mu.Unlock()
	for _, i := range *f.members.Load() {
		if off.HealthWatch != before.HealthWatch {
			f.heed(i, "the health watch was switched off, or on again")
		}
		if off.HangDetection && !before.HangDetection {
			f.alive(i, f.now(), "the detection of hangs was switched off")
		}
		if off.Draining && !before.Draining && i.clear(draining) {
			f.marked(i, "the mark of leaving was switched off")
		}
		if off.Yield {
			i.yield.Store(nil)
		}
	}
	if off.Doubt && !before.Doubt {
		f.mu.Lock()
		b := f.lb
		f.mu.Unlock()
		if b != nil {
			b.dropAbsent()
		}
	}
}

// equip gives i its breaker and its limits, or takes them from it while they are switched
// off. Requires Fleet.mu.
func (f *Fleet) equip(i *Instance) {
	off, b, l := f.config.Load().Off, i.keptBreaker.Load(), i.keptLimits
	if off.Breaker {
		b = nil
	}
	if off.Concurrency {
		l = nil
	}
	i.limits.Store(l)
	if i.breaker.Swap(b) == b {
		return
	}
	i.downSince.Store(0)
	if i.ejected() {
		i.downSince.Store(f.now())
	}
}

// heed has the mark of i be what its health service said last. It reports whether that
// changed anything.
func (f *Fleet) heed(i *Instance, why string) (changed bool) {
	for {
		ill, off := i.ill.Load(), f.config.Load().Off.HealthWatch
		if ill && !off {
			if i.set(notServing) {
				changed = true
				i.leave(f.now())
			}
		} else {
			changed = i.clear(notServing) || changed
		}
		if ill == i.ill.Load() && off == f.config.Load().Off.HealthWatch {
			break
		}
	}
	if changed {
		f.marked(i, why)
	}
	return changed
}

// dropAbsent takes out those that the source no longer lists.
func (b *lb) dropAbsent() {
	b.calls.Lock()
	defer b.calls.Unlock()
	if b.closed {
		return
	}
	listed := make(map[*Instance]bool, len(b.links))
	for i := range b.links {
		listed[i] = !i.info.Load().Absent
	}
	b.hold()
	b.drop(listed)
	b.release()
}
