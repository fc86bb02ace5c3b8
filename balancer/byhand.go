package balancer

import (
	"fmt"

	"github.com/surecall/surecall/breaker"
)

// SetMode sets by hand what becomes of an instance: breaker.ForcedOpen ejects it with no
// trials, whatever its breaker says and also if there is none (it serves only if nobody
// else has a connection); breaker.Disabled has its breaker let everything through, while
// hangs and what it says of itself still count; breaker.Automatic ends either, and the
// breaker begins closed. After ForcedOpen its share rises slowly.
//
// The mode belongs to the ID. It holds for all incarnations, those to come too, for as
// long as the fleet lives. It is an error to name an ID that neither is in the fleet nor
// was within the last 10 minutes, unless it is to end what was set before. It may be called
// at any time.
func (f *Fleet) SetMode(instanceID string, m breaker.Mode) error {
	if m > breaker.Disabled {
		return fmt.Errorf("balancer: SetMode %q: mode %d: want Automatic, ForcedOpen or Disabled", instanceID, m)
	}
	f.mu.Lock()
	now, known := f.now(), false
	var those []*Instance
	for _, i := range f.store {
		if i.id == instanceID {
			those = append(those, i)
			known = known || i.member || now-i.leftAt <= int64(linger)
		}
	}
	_, set := f.modes[instanceID]
	if !known && !(set && m == breaker.Automatic) {
		members := len(*f.members.Load())
		f.mu.Unlock()
		return fmt.Errorf("balancer: SetMode %q: want the ID of an instance: none of the %d known has it", instanceID, members)
	}
	if m == breaker.Automatic {
		delete(f.modes, instanceID)
	} else {
		f.modes[instanceID] = m
	}
	f.mu.Unlock()
	for _, i := range those {
		f.obey(i, m)
	}
	return nil
}

// obey has i follow what was set by hand: m, or what somebody else has set meanwhile.
func (f *Fleet) obey(i *Instance, m breaker.Mode) {
	for {
		f.impose(i, m)
		f.mu.Lock()
		latest := f.modes[i.id]
		f.mu.Unlock()
		if latest == m {
			return
		}
		m = latest
	}
}

// impose makes m the mode of i. A forced ejection is a mark and needs no breaker; the
// breaker itself is only told whether it may decide.
func (f *Fleet) impose(i *Instance, m breaker.Mode) {
	if m == breaker.ForcedOpen && i.set(forced) {
		i.leave(f.now())
		f.marked(i, "ejected by hand")
	}
	if b := i.keptBreaker.Load(); b != nil {
		b.SetMode(breakers(m))
	}
	if m != breaker.ForcedOpen && i.clear(forced) {
		i.latency.forget()
		i.rampStart.Store(f.now())
		f.marked(i, "no longer ejected by hand")
	}
}

// breakers returns the mode of a breaker whose instance has mode m.
func breakers(m breaker.Mode) breaker.Mode {
	if m == breaker.ForcedOpen {
		return breaker.Automatic
	}
	return m
}
