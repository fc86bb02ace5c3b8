package e2e

import (
	"testing"
	"time"
)

func TestConsulRestartsWithItsData(t *testing.T) { consulRestarts(t, true) }

func TestConsulRestartsWithoutItsData(t *testing.T) { consulRestarts(t, false) }

func consulRestarts(t *testing.T, keep bool) {
	c := newCluster(t, setup{keep: keep})
	c.agent.Kill()
	time.Sleep(settle) // longer than the TTL of the servers' checks
	if err := c.agent.Restart(keep); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * settle)
	// Discovery works again: a new instance is found, and one that leaves is dropped.
	late := c.add(t, spec{id: "orders-late"})
	c.awaitEligible(t, late, 5*time.Second)
	c.servers[0].post(t, "/deregister")
	c.quietWithin(t, c.servers[0], 2*time.Second)
	c.exactly(t, c.finish(t, allowed{}))
}

// All checks expire while the agent stands still: when it goes on, everything is
// critical until the next heart-beats.
func TestConsulStandsStill(t *testing.T) {
	c := newCluster(t, setup{})
	if err := c.agent.Pause(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	if err := c.agent.Resume(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * settle)
	c.exactly(t, c.finish(t, allowed{}))
}
