package balancer

import (
	"time"

	"github.com/surecall/surecall/event"
)

// What an instance that says it has too much to do gets: its share is halved and comes
// back in a straight line (additive increase, multiplicative decrease: Chiu and Jain,
// 1989; TCP), so that many clients settle on what it can serve without knowing of each
// other.
const (
	yieldFactor = 0.5
	// yieldEach is the least time between two falls: the refusals of one moment are one
	// word, however many calls were in flight, as losses within one round trip are for TCP.
	yieldEach = 100 * time.Millisecond
	// leastShare is enough to learn that it has room again.
	leastShare = 0.05
	// shareBack is how long the way back takes from nothing to all.
	shareBack = 10 * time.Second
	// maxRest bounds what a server can ask for.
	maxRest = 30 * time.Second
	// restLook is how long it holds that everybody rests, since a scan has found so: each
	// pick would scan anew.
	restLook = 10 * time.Millisecond
)

// yield is what an instance that has too much to do gets of the calls. It is immutable.
type yield struct {
	share float64 // at the time at, of what it would get
	at    int64   // when it last fell
	rest  int64   // it gets none before
	told  float64 // the share that was last told; if it has doubled since, what it came back to
}

// Yield notes that i refused an attempt because it has too much to do, or asked not to be
// called for pushback (0: it did not; at most 30 s count). Its share of the calls falls to
// half, at most once in 100 ms and down to a twentieth, and comes back within 10 s; while
// the pushback lasts it gets none, unless there is nobody else. It says nothing about
// whether i lives.
func (f *Fleet) Yield(i *Instance, pushback time.Duration, clock int64) {
	if f.config.Load().Off.Yield {
		return
	}
	for {
		old := i.yield.Load()
		next, tell := old.lowered(pushback, clock)
		if old != nil && next == *old {
			return // the same word again
		}
		fallen := next
		if !i.yield.CompareAndSwap(old, &fallen) {
			continue
		}
		if tell && f.listening() && !f.config.Load().Plain {
			f.emit(event.InstanceYields{
				Service: f.config.Load().Service, Instance: i.id,
				Share: next.share, For: time.Duration(max(0, next.rest-clock)),
			})
		}
		return
	}
}

// lowered returns what follows y (nil: all) when the instance says at now that it has too
// much to do, and whether that is worth telling: its share has halved since that was last
// told, or a rest begins.
func (y *yield) lowered(pushback time.Duration, now int64) (next yield, tell bool) {
	next = yield{share: 1, at: now - int64(yieldEach), told: 1}
	if y != nil {
		next = *y
		if back := y.of(now); back >= 2*y.told {
			next.told = back
		}
	}
	if now-next.at >= int64(yieldEach) {
		next.share, next.at = max(leastShare, y.of(now)*yieldFactor), now
	}
	if pushback > 0 {
		tell = now >= next.rest
		next.rest = max(next.rest, now+int64(min(pushback, maxRest)))
	}
	if next.share <= next.told/2 {
		next.told, tell = next.share, true
	}
	return next, tell
}

// of returns the share at now, but for the rest: that delays the way back.
func (y *yield) of(now int64) float64 {
	if y == nil {
		return 1
	}
	back := now - max(y.at, y.rest)
	return min(1, y.share+max(0, float64(back)/float64(shareBack)))
}

// rests reports whether the instance asked not to be called now.
func (i *Instance) rests(now int64) bool {
	y := i.yield.Load()
	return y != nil && now < y.rest
}

// spares reports whether the instance rests, and others do not.
func (f *Fleet) spares(i *Instance, now int64) bool { return i.rests(now) && now >= f.allRest.Load() }

// yielded returns what i gets of the calls that it would get; 0: it rests, and not all do.
func (f *Fleet) yielded(i *Instance, now int64) float64 {
	y := i.yield.Load()
	switch {
	case y == nil:
		return 1
	case f.spares(i, now):
		return 0
	}
	share := y.of(now)
	if share == 1 {
		i.yield.CompareAndSwap(y, nil)
	}
	return share
}

// ramped returns the share that i has reached in its slow start; 1: it is in none.
func (f *Fleet) ramped(i *Instance, now int64) float64 {
	start := i.rampStart.Load()
	if start == 0 {
		return 1
	}
	p := &f.config.Load().Policy
	done := float64(now-start) / float64(p.SlowStart)
	if done >= 1 {
		i.rampStart.CompareAndSwap(start, 0)
		return 1
	}
	return max(p.SlowStartFrom, done)
}

// share returns what i gets of the calls that it would get, in slow start and yielding.
func (f *Fleet) share(i *Instance, now int64) float64 {
	if i.rampStart.Load() == 0 && i.yield.Load() == nil {
		return 1
	}
	return f.ramped(i, now) * f.yielded(i, now)
}
