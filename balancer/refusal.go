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

// Refusal describes the fleet as it stands.
func (f *Fleet) Refusal() Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	members := *f.members.Load()
	r := Refusal{Known: len(members), States: make(map[event.State]int), LastErr: f.lastErr, ErrAt: f.time(f.errAt)}
	for _, i := range members {
		r.States[i.state()]++
	}
	return r
}
