package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/surecall/surecall/internal/consultest"
)

func TestConsulRestartsWithItsData(t *testing.T) { consulRestarts(t, true) }

// The agent comes back empty: the servers find out by their heart-beats, and register
// again.
func TestConsulRestartsWithoutItsData(t *testing.T) { consulRestarts(t, false) }

func consulRestarts(t *testing.T, keep bool) {
	t.Parallel()
	c := newCluster(t, setup{keep: keep, noControl: true})
	c.agent.Kill()
	time.Sleep(settle) // longer than the TTL of the servers' checks
	if err := c.agent.Restart(keep); err != nil {
		t.Fatal(err)
	}
	t.Logf("all registered %v after the agent's return", round(awaitRegistered(t, c.agent.Addr, 5, time.Now(), 2*settle)))
	time.Sleep(settle)
	c.discovers(t, 5*time.Second)
	c.exactly(t, c.finish(t, allowed{}))
}

// discovers checks that discovery works: a new instance is found, and one that leaves is
// dropped.
func (c *cluster) discovers(t *testing.T, within time.Duration) {
	t.Helper()
	late := c.add(t, spec{id: "orders-late"})
	t.Logf("a new instance is eligible %v after it served", round(c.awaitEligible(t, late, within)))
	c.servers[0].post(t, "/deregister")
	c.quietWithin(t, c.servers[0], within/2)
}

// outage is longer than every TTL, and than any back-off that would be too long.
const outage = time.Minute

// backOnTime is how soon after its agent's return a server has to be registered again.
const backOnTime = 2 * time.Second

// An agent that is gone for a minute, and comes back empty: servers have what the
// registration of a user has, the default TTL.
func TestHeartbeatSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{flags: all(5, "-ttl", "15s"), noControl: true})
		c.agent.Kill()
		time.Sleep(outage)
		if err := c.agent.Restart(false); err != nil {
			t.Fatal(err)
		}
		back := awaitRegistered(t, c.agent.Addr, 5, time.Now(), 30*time.Second)
		t.Logf("all registered %v after the agent's return from an outage of %v", round(back), outage)
		time.Sleep(settle)
		c.exactly(t, c.finish(t, allowed{}))
		if back > backOnTime {
			return fmt.Sprintf("registered %v after the agent's return: want at most %v", round(back), backOnTime)
		}
		return ""
	})
}

// All checks expire while the agent stands still: when it goes on, everything is
// critical until the next heart-beats.
func TestConsulStandsStill(t *testing.T) {
	t.Parallel()
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{noControl: true})
		if err := c.agent.Pause(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if err := c.agent.Resume(); err != nil {
			t.Fatal(err)
		}
		back := awaitRegistered(t, c.agent.Addr, 5, time.Now(), 30*time.Second)
		t.Logf("all passing %v after the agent went on", round(back))
		time.Sleep(2 * settle)
		c.exactly(t, c.finish(t, allowed{}))
		if back > backOnTime {
			return fmt.Sprintf("passing %v after the agent went on: want at most %v", round(back), backOnTime)
		}
		return ""
	})
}

// all gives each of n servers the same flags.
func all(n int, flags ...string) map[int][]string {
	of := map[int][]string{}
	for i := range n {
		of[i+1] = flags
	}
	return of
}

// stabilization is what a Consul cluster needs after a server's return before it can
// do without another.
const stabilization = 10 * time.Second

// The servers of Consul die one after another, and the agent beside the client has
// nobody left to ask.
func TestConsulServersDie(t *testing.T) {
	t.Parallel()
	three := startClusters(t, consultest.ClusterOptions{Net: 21})[0]
	c := newCluster(t, setup{agent: three.Clients[0], noControl: true})
	for _, s := range three.Servers {
		s.Kill()
		time.Sleep(settle)
	}
	time.Sleep(settle)
	if err := three.Revive(); err != nil {
		t.Fatal(err)
	}
	// The agent tells the servers again what it was told when it could not reach them: after
	// 15 to 30 s at the latest.
	time.Sleep(stabilization)
	c.discovers(t, 30*time.Second)
	c.exactly(t, c.finish(t, allowed{}))
}

// A leader that stands still is worse than a dead one: nobody elects another until its
// silence is noticed. Meanwhile an instance leaves, and nobody can be told through Consul.
func TestConsulLeaderStandsStill(t *testing.T) {
	t.Parallel()
	three := startClusters(t, consultest.ClusterOptions{Net: 22})[0]
	c := newCluster(t, setup{agent: three.Clients[0], noControl: true})
	leader, err := three.Leader()
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Pause(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	c.servers[4].leave(t)
	time.Sleep(30*time.Second - settle)
	if err := leader.Resume(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(stabilization)
	c.discovers(t, 30*time.Second)
	c.exactly(t, c.finish(t, allowed{}))
}

// A token that loses its policy in mid-watch sees an empty service, and no error.
func TestTokenLosesItsPolicy(t *testing.T) {
	t.Parallel()
	needBinaries(t)
	agent := consultest.StartWith(t, consultest.ACLs())
	writer := token(t, agent, "writer", `service "orders" { policy = "write" }`)
	reader := token(t, agent, "reader", `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	// The watch ends each 2 s: that is when the loss shows, and the default is a minute.
	c := newCluster(t, setup{agent: agent, token: writer.Secret, query: "?wait=2s&token=" + reader.Secret, noControl: true})
	if err := reader.Deprive(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * settle)
	if err := reader.Restore(); err != nil {
		t.Fatal(err)
	}
	late := c.add(t, spec{id: "orders-late"})
	t.Logf("a new instance is eligible %v after it served", round(c.awaitEligible(t, late, 40*time.Second)))
	time.Sleep(settle)
	c.exactly(t, c.finish(t, allowed{}))
}

func token(t *testing.T, agent *consultest.Agent, name, rules string) *consultest.Token {
	t.Helper()
	token, err := agent.NewToken(name, rules)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func startClusters(t *testing.T, options ...consultest.ClusterOptions) []*consultest.Cluster {
	t.Helper()
	needBinaries(t)
	return consultest.StartClusters(t, options...)
}
