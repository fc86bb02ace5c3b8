package balancer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
)

// asked is a context that tells when its deadline is asked for.
type asked struct {
	context.Context
	tell func()
}

func (a asked) Deadline() (time.Time, bool) {
	a.tell()
	return a.Context.Deadline()
}

// TestLastSlots: each time a call has chosen the only instance, another takes its last slot,
// and gives it back once the call has found that out. After as many choices as there are,
// it takes a slot as it comes, or is refused; it never waits in gRPC's queue.
func TestLastSlots(t *testing.T) {
	for _, test := range []struct {
		name  string
		taken int // as often
		want  error
	}{{"one is left", maxDraws, nil}, {"none is left", maxDraws + 1, errRefused}} {
		t.Run(test.name, func(t *testing.T) {
			var slots *limit.Limiter // nil: nothing happens yet
			draws, taken := 0, 0
			random := func() uint64 {
				if slots == nil {
					return 0
				}
				// Each choice draws once, and once more to see whether who yields takes the
				// call; the last resort draws once.
				slots.Release()
				if draws++; taken < test.taken && (draws%2 == 0 || draws > 2*maxDraws) && slots.TryAcquire() {
					taken++
				}
				return 0
			}
			r, _ := limited(1, 1, Config{Random: random})
			i := r.member(t, "i0")
			i.yield.Store(&yield{share: 0.9, at: int64(time.Hour)})
			slots = i.limits.Load().unary
			if _, err := r.pick(&Attempt{Priority: limit.Critical}, r.fleet.now()); !errors.Is(err, test.want) {
				t.Errorf("after the slot was taken %d times: %v, want %v", taken, err, test.want)
			}
			if taken != test.taken {
				t.Errorf("the slot was taken %d times, want %d", taken, test.taken)
			}
		})
	}
}

// TestTrialWithoutSlot: a trial whose instance has no slot any more is given back, and
// goes to the next call when there is one.
func TestTrialWithoutSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := limited(2, 1, Config{Breaker: &breaker.Policy{Jitter: 1e-9}})
		i := r.member(t, "i0")
		slots := i.limits.Load().unary
		eject(i)
		time.Sleep(6 * time.Second)
		late := &Attempt{Retryable: true, Priority: limit.Critical}
		late.Context = asked{t.Context(), func() { slots.TryAcquire() }}
		if r.mustPick(t, late) == i || slots.InFlight() != 1 {
			t.Fatal("the trial's slot was not taken away")
		}
		slots.Release()
		late.finished(doneOK)
		time.Sleep(dueRecheck)
		if next := r.mustPick(t, &Attempt{Retryable: true, Priority: limit.Critical}); next != i {
			t.Errorf("picked %s: the trial that found no slot is lost", next.id)
		}
	})
}

// TestDueButFull: the trial of one that has no room is nobody's, and costs no call its
// choice by load.
func TestDueButFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := limited(3, 500, Config{Breaker: &breaker.Policy{Jitter: 1e-9}})
		due := r.member(t, "i0")
		r.member(t, "i1").inFlight.Store(200)
		eject(due)
		r.fill(due)
		time.Sleep(6 * time.Second)
		for range 50 {
			a := &Attempt{Retryable: true}
			if i := r.mustPick(t, a); i.id != "i2" {
				t.Fatalf("picked %s, with an idle one beside it", i.id)
			}
			a.finished(doneOK)
			time.Sleep(dueRecheck)
		}
	})
}

// TestDueButRests: an ejected one that asked not to be called gets no trial before the end
// of its rest, from calls of any kind.
func TestDueButRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithBreakers(2, breaker.Policy{})
		i := r.member(t, "i0")
		r.fleet.Yield(i, 20*time.Second, r.fleet.now())
		eject(i)
		for range 19 {
			time.Sleep(time.Second)
			for _, a := range []*Attempt{{Retryable: true}, {Retryable: true, Route: &Route{Key: "k"}}} {
				if r.mustPick(t, a) == i {
					t.Fatal("got its trial while it rests")
				}
				a.finished(balancer.DoneInfo{BytesSent: true})
			}
		}
		time.Sleep(time.Second)
		if r.mustPick(t, &Attempt{Retryable: true}) != i {
			t.Error("got no trial after its rest")
		}
	})
}
