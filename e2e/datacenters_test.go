package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/surecall/surecall/internal/consultest"
)

// Two datacenters, joined. The client prefers one of them; its instances leave, and come
// back; then its agents die, which changes nothing; then its instances do.
func TestDatacenterFailover(t *testing.T) {
	t.Parallel()
	two := startClusters(t,
		consultest.ClusterOptions{Datacenter: "eu", Servers: 1, Net: 31},
		consultest.ClusterOptions{Datacenter: "us", Servers: 1, Net: 32})
	eu, us := two[0], two[1]
	c := newCluster(t, setup{agent: eu.Clients[0], servers: 3, query: "?dc=eu,us", idle: true, noControl: true})
	var standby []*server
	for n := range 3 {
		srv := c.launch(t, spec{id: fmt.Sprintf("us-%d", n+1), agent: us.Clients[0].Addr})
		standby = append(standby, srv)
		c.seen = append(c.seen, srv)
	}
	c.begin(t)
	time.Sleep(settle)
	if n := arrived(standby); n > 0 {
		t.Errorf("us received %d calls while all of eu lives: want none", n)
	}

	failed := c.load.now()
	leaveTogether(t, c.servers...)
	time.Sleep(settle)
	before := arrived(standby)
	time.Sleep(time.Second)
	if n := arrived(standby) - before; n < rate/2 {
		t.Errorf("us received %d calls in a second when eu is gone: want about %d", n, rate)
	}

	returned := c.load.now()
	for n := range c.servers {
		c.restart(t, n)
	}
	time.Sleep(15 * time.Second) // it goes back when one has been there for 10 s
	before = arrived(standby)
	time.Sleep(settle)
	if n := arrived(standby) - before; n > 0 {
		t.Errorf("us received %d calls 15s after the return of eu: want none", n)
	}

	eu.Stop() // its agents are gone, and its instances are not
	time.Sleep(settle)

	// Now all that is left of it dies at once, and nobody can say so.
	killed := c.load.now()
	killTogether(c.servers...)
	time.Sleep(settle)
	c.finish(t, lostWith(3, killed))
	t.Logf("failover at %v, return at %v, death at %v", round(failed), round(returned), round(killed))
}

// arrived is how many calls the servers received.
func arrived(servers []*server) int {
	n := 0
	for _, srv := range servers {
		n += int(srv.counter.Received())
	}
	return n
}
