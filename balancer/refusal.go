package balancer

import (
	"time"

	"github.com/surecall/surecall/event"
)

// Refusal says why there is no instance for a call.
type Refusal struct {
	Known   int // instances in the fleet
	States  map[event.State]int
	Full    int       // of them, those with a connection that are at their limit
	Pinned  string    // the ID of the instance that the call was pinned to; empty: any would have done
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
		if l := i.limits.Load(); i.conn.SubConn() != nil && l.full() {
			r.Full++
		}
	}
	return r
}
