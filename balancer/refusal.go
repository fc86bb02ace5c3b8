package balancer

import (
	"time"

	"github.com/surecall/surecall/event"
)

// Refusal says why there is no instance for a call.
type Refusal struct {
	Known   int // instances in the fleet
	States  map[event.State]int
	LastErr error     // of the connection that failed last, or of the source; nil if none
	ErrAt   time.Time // when
}

// refusalLife is how long a description serves all who are refused: in an outage that is
// every call, and each would count all instances.
const refusalLife = 10 * time.Millisecond

// Refusal describes the fleet as it stands, or did 10 ms ago. Its map is shared.
func (f *Fleet) Refusal() Refusal {
	now := f.now()
	if r := f.refusal.Load(); r != nil && now-r.at < int64(refusalLife) {
		return r.Refusal
	}
	r := &datedRefusal{f.describe(), now}
	f.refusal.Store(r)
	return r.Refusal
}

type datedRefusal struct {
	Refusal
	at int64
}

func (f *Fleet) describe() Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	members := *f.members.Load()
	r := Refusal{Known: len(members), States: make(map[event.State]int), LastErr: f.lastErr, ErrAt: f.time(f.errAt)}
	for _, i := range members {
		r.States[i.state()]++
	}
	return r
}
