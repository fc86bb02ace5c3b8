package limit

import (
	"context"
	"testing"
	"time"
)

// rounds sends calls to an adaptive limiter in rounds, each of which begins when the one
// before has ended.
type rounds struct {
	*testing.T
	l    *Limiter
	now  time.Time
	dips int
}

// newRounds returns a limit that stays at 20, all of which is in flight.
func newRounds(t *testing.T) *rounds {
	r := &rounds{T: t, now: time.Unix(1e9, 0)}
	r.l = NewLimiter(Concurrency{Adaptive: Adaptive{On: true, Max: 20}}, nil, nil)
	for range 20 {
		if !r.take() {
			t.Fatal("no room for 20")
		}
	}
	return r
}

func (r *rounds) take() bool {
	return r.l.Acquire(context.Background(), Ask{Priority: Critical}, r.now) == nil
}

// end ends all that are in flight.
func (r *rounds) end(latency time.Duration) {
	for r.l.InFlight() > 0 {
		before := r.l.adaptive.dip.phase
		r.l.Sample(Sample{Elapsed: latency, Outcome: Success}, r.now)
		r.l.Release()
		if before == noDip && r.l.adaptive.dip.phase != noDip {
			r.dips++
		}
	}
}

// run lets that much time pass, with n calls in each round, or as many as there is room for.
func (r *rounds) run(d time.Duration, n int, latency time.Duration) {
	for until := r.now.Add(d); r.now.Before(until); {
		for taken := 0; taken < n && r.take(); taken++ {
		}
		r.now = r.now.Add(latency)
		r.end(latency)
	}
}

// TestDipsWhenItHeldSomebodyBack, and not because somebody asked whether it would, nor
// because the dip itself did.
func TestDipsWhenItHeldSomebodyBack(t *testing.T) {
	for _, c := range []struct {
		name string
		full func(r *rounds)
		want int
	}{
		{"nobody came", func(*rounds) {}, 0},
		{"asked", func(r *rounds) { r.l.Full(Critical) }, 0},
		{"refused", func(r *rounds) { r.take() }, 1},
		{"went elsewhere", func(r *rounds) { r.l.Missed() }, 1},
	} {
		r := newRounds(t)
		if !r.l.Full(Critical) {
			t.Fatal("room for 21")
		}
		c.full(r)
		r.end(50 * time.Millisecond)
		r.run(time.Minute, 12, 50*time.Millisecond) // the limit holds none of them back; a dip does
		if r.dips != c.want {
			t.Errorf("%s: %d dips in a minute, want %d", c.name, r.dips, c.want)
		}
	}
}

// TestEarlyDipDoublesBaseAtMost: other clients may not dip then, and it is their calls
// that make the service slow.
func TestEarlyDipDoublesBaseAtMost(t *testing.T) {
	r := newRounds(t)
	r.take()
	r.end(50 * time.Millisecond)
	r.run(12*time.Second, 12, 50*time.Millisecond)
	a, before := r.l.adaptive, r.l.adaptive.base
	if r.dips != 1 || before < 40*time.Millisecond || before > 60*time.Millisecond {
		t.Fatalf("%d dips, base %v: want 1, and about 50ms", r.dips, before)
	}
	r.run(6*time.Second, 12, 200*time.Millisecond) // up to 2 s before the next regular one
	if r.dips != 2 || a.base <= before || a.base > 2*before {
		t.Errorf("%d dips, base %v after %v: want an early one that at most doubles it", r.dips, a.base, before)
	}
}
