package breaker_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

// hand is what the three breakers have in common for whoever sets their mode.
type hand struct {
	setMode func(breaker.Mode)
	passes  func() bool // asked, and a trial is lost
	fail    func()      // as often as it takes to open the breaker
	succeed func()
	counts  func() (breaker.State, breaker.Mode)
}

// hands makes one of each, all of which tell changed of their changes.
func hands(dryRun bool, changed func(breaker.Change)) map[string]hand {
	i := breaker.NewInstance(breaker.Policy{DryRun: dryRun}, breaker.Hooks{Changed: changed})
	m := breaker.NewMethod(breaker.MethodPolicy{DryRun: dryRun}, changed)
	s := breaker.NewService(breaker.ServicePolicy{DryRun: dryRun}, changed)
	return map[string]hand{
		"instance": {
			setMode: i.SetMode,
			passes: func() bool {
				_, trial := tryTrial(i)
				return trial || breaker.Closed(i.Word())
			},
			fail:    func() { record(i, breaker.Failure, 5) },
			succeed: func() { record(i, breaker.Success, 1) },
			counts: func() (breaker.State, breaker.Mode) {
				c := i.Counts()
				return c.State, c.Mode
			},
		},
		"method": {
			setMode: m.SetMode,
			passes: func() bool {
				_, ok := m.Enter(time.Now())
				return ok
			},
			fail:    func() { call(m, breaker.Failure, 0, 20) },
			succeed: func() { call(m, breaker.Success, 0, 1) },
			counts: func() (breaker.State, breaker.Mode) {
				c := m.Counts()
				return c.State, c.Mode
			},
		},
		"service": {
			setMode: s.SetMode,
			passes: func() bool {
				ok, _ := s.Allow(time.Now())
				return ok
			},
			fail: func() {
				for range 21 {
					time.Sleep(50 * ms)
					s.Failure(time.Now())
				}
			},
			succeed: func() { s.Success(time.Now()) },
			counts: func() (breaker.State, breaker.Mode) {
				c := s.Counts()
				return c.State, c.Mode
			},
		},
	}
}

// eachHand runs test on each of the three breakers, in a bubble of its own.
func eachHand(t *testing.T, dryRun bool, test func(t *testing.T, h hand, told func() []breaker.Change)) {
	for _, name := range []string{"instance", "method", "service"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changes []breaker.Change
				h := hands(dryRun, func(c breaker.Change) { changes = append(changes, c) })[name]
				test(t, h, func() []breaker.Change {
					all := changes
					changes = nil
					return all
				})
			})
		})
	}
}

func wantTold(t *testing.T, told []breaker.Change, want ...breaker.Change) {
	t.Helper()
	if !slices.Equal(told, want) {
		t.Fatalf("\n told %+v\n want %+v", told, want)
	}
}

func TestForcedOpen(t *testing.T) {
	eachHand(t, false, func(t *testing.T, h hand, told func() []breaker.Change) {
		h.setMode(breaker.ForcedOpen)
		h.setMode(breaker.ForcedOpen) // no change, and not told
		wantTold(t, told(), breaker.Change{To: breaker.StateOpen, Mode: breaker.ForcedOpen, Why: "forced open by hand"})
		for range 100 {
			if h.passes() {
				t.Fatal("something passes, or is given a trial, while it is open by hand")
			}
			h.succeed()
			h.fail()
			time.Sleep(time.Hour)
		}
		if state, mode := h.counts(); state != breaker.StateOpen || mode != breaker.ForcedOpen {
			t.Fatalf("shows %v and %v, want open and forced open", state, mode)
		}
		wantTold(t, told())

		h.setMode(breaker.Automatic)
		wantTold(t, told(), breaker.Change{From: breaker.StateOpen, Why: "set to automatic by hand"})
		if !h.passes() {
			t.Fatal("rejects after it was set to automatic")
		}
		h.fail()
		if h.passes() {
			t.Fatal("does not decide again after it was set to automatic")
		}
	})
}

func TestForcedOpenWhileOpen(t *testing.T) {
	eachHand(t, false, func(t *testing.T, h hand, told func() []breaker.Change) {
		h.fail()
		told()
		h.setMode(breaker.ForcedOpen)
		wantTold(t, told(), breaker.Change{
			From: breaker.StateOpen, To: breaker.StateOpen, Mode: breaker.ForcedOpen, Why: "forced open by hand",
		})
		time.Sleep(time.Hour) // its own opening would be long over
		if h.passes() {
			t.Fatal("gives out a trial while it is open by hand")
		}
	})
}

func TestDisabled(t *testing.T) {
	eachHand(t, false, func(t *testing.T, h hand, told func() []breaker.Change) {
		h.fail()
		told()
		h.setMode(breaker.Disabled)
		wantTold(t, told(), breaker.Change{From: breaker.StateOpen, Mode: breaker.Disabled, Why: "disabled by hand"})
		for range 10 {
			h.fail()
			if !h.passes() {
				t.Fatal("rejects while disabled")
			}
		}
		if state, mode := h.counts(); state != breaker.StateClosed || mode != breaker.Disabled {
			t.Fatalf("shows %v and %v, want closed and disabled", state, mode)
		}
		wantTold(t, told())

		h.setMode(breaker.Automatic)
		wantTold(t, told(), breaker.Change{Why: "set to automatic by hand"})
		h.fail()
		if h.passes() {
			t.Fatal("does not decide again after it was set to automatic")
		}
	})
}

// To close a breaker by hand is to set it to automatic, which it was.
func TestCloseByHand(t *testing.T) {
	eachHand(t, false, func(t *testing.T, h hand, told func() []breaker.Change) {
		h.setMode(breaker.Automatic)
		wantTold(t, told())
		h.fail()
		told()
		h.setMode(breaker.Mode(9)) // taken for Automatic
		wantTold(t, told(), breaker.Change{From: breaker.StateOpen, Why: "set to automatic by hand"})
		for range 10 {
			if !h.passes() {
				t.Fatal("rejects after it was closed by hand")
			}
		}
	})
}

// A mode that is set by hand acts, dry run or not.
func TestHandIsStrongerThanDryRun(t *testing.T) {
	eachHand(t, true, func(t *testing.T, h hand, told func() []breaker.Change) {
		h.fail()
		told()
		h.setMode(breaker.ForcedOpen)
		wantTold(t, told(), breaker.Change{To: breaker.StateOpen, Mode: breaker.ForcedOpen, Why: "forced open by hand"})
		if h.passes() {
			t.Fatal("passes while it is open by hand")
		}
		h.setMode(breaker.Automatic)
		wantTold(t, told(), breaker.Change{From: breaker.StateOpen, Why: "set to automatic by hand"})

		h.fail()
		told()
		h.setMode(breaker.Disabled)
		wantTold(t, told(), breaker.Change{
			From: breaker.StateOpen, Mode: breaker.Disabled, DryRun: true, Why: "disabled by hand",
		})
		h.fail()
		wantTold(t, told())
	})
}

// An instance that was ejected by hand is not sent to a trial, not brought back by the
// fleet's recovery, and not counted by its attempts in flight.
func TestForcedOpenInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{MayEject: func() bool { asked++; return false }})
		early := b.Word()
		b.SetMode(breaker.ForcedOpen)
		wantState(t, b, breaker.StateOpen)
		since := time.Now()
		time.Sleep(time.Hour)
		b.Expedite()
		b.ClearRun()
		b.Reset()
		wantState(t, b, breaker.StateOpen)
		if b.Due(time.Now()) || b.Due(time.Now().Add(100*365*24*time.Hour)) {
			t.Fatal("due for a trial while ejected by hand")
		}
		if c := b.Counts(); !c.EjectedUntil.IsZero() || !c.EjectedSince.Equal(since) || c.Ejections != 0 {
			t.Fatalf("shows %+v; want ejected since %v, with no end, by no decision", c, since)
		}
		b.SetMode(breaker.Automatic)
		for range 9 {
			b.Record(early, breaker.Failure)
		}
		if c := b.Counts(); c.Run != 0 || c.Requests != 0 {
			t.Fatalf("counted across the change: %+v", c)
		}
		if asked != 0 {
			t.Fatalf("the cap was asked %d times about what was done by hand", asked)
		}
	})
}

// What is ejected when the hand comes goes on being ejected since then.
func TestForcedOpenKeepsTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{}))
		since := time.Now()
		trial := mustTrial(t, b)
		b.SetMode(breaker.ForcedOpen)
		trial.Done(breaker.Success) // void
		wantState(t, b, breaker.StateOpen)
		if c := b.Counts(); !c.EjectedSince.Equal(since) {
			t.Fatalf("ejected since %v, want %v", c.EjectedSince, since)
		}
	})
}

// While disabled a breaker counts nothing, so that what happened then is not held
// against the instance later.
func TestDisabledInstanceCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{})
		b.SetMode(breaker.Disabled)
		word := b.Word()
		record(b, breaker.Failure, 100)
		b.Reset()
		if c := b.Counts(); c.Requests != 0 || c.Run != 0 || c.Mode != breaker.Disabled {
			t.Fatalf("shows %+v, want nothing counted and still disabled", c)
		}
		b.SetMode(breaker.Automatic)
		for range 100 {
			b.Record(word, breaker.Failure)
		}
		wantState(t, b, breaker.StateClosed)
	})
}

// A run that begins again remembers no doubling.
func TestAutomaticForgetsEjections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ejected(breaker.NewInstance(breaker.Policy{}, breaker.Hooks{Rand: middle}))
		mustTrial(t, b).Done(breaker.Failure)
		b.SetMode(breaker.Automatic)
		wantState(t, b, breaker.StateClosed)
		ejected(b)
		if got := time.Until(b.Counts().EjectedUntil); got != 5*time.Second {
			t.Fatalf("ejected for %v after it was closed by hand, want 5s", got)
		}
	})
}
