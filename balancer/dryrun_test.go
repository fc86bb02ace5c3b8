package balancer

import (
	"testing"
	"testing/synctest"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// In a dry run nobody is ejected, and yet the cap holds for what is told: of a fleet that
// fails as a whole, half would go.
func TestDryRunTellsOfNoMoreThanTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, changed := 0, 0
		r := newRig(Config{Breaker: &breaker.Policy{DryRun: true}, Events: func(e event.Event) {
			switch e := e.(type) {
			case event.InstanceWouldChange:
				if e.To == breaker.StateOpen.String() {
					out++
				}
			case event.InstanceChanged:
				changed++
			}
		}})
		r.set(instances(6, nil))
		changed = 0
		for _, i := range *r.fleet.members.Load() {
			eject(i)
			if i.ejected() || !i.eligible() {
				t.Errorf("%s is ejected in a dry run", i.id)
			}
		}
		if out != 3 || changed != 0 {
			t.Errorf("told that %d of 6 would be ejected, and of %d changes; want 3 and 0", out, changed)
		}
	})
}
