package balancer

import "testing"

// Breakers were switched off while the cap was about to be enforced: without a policy
// there is no cap, and nobody to send to a trial. It used to panic.
func TestCapWithoutBreakers(t *testing.T) {
	f := NewFleet(Config{Service: "orders"})
	f.nextDue.Store(1)
	f.enforceCap()
	if due := f.nextDue.Load(); due != 0 {
		t.Errorf("next due %d: want none", due)
	}
}
