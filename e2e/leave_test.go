package e2e

import (
	"net/http"
	"testing"
	"time"
)

// settle is how long a load runs on after what a scenario does.
const settle = 3 * time.Second

func TestNothingHappens(t *testing.T) {
	c := newCluster(t, setup{})
	time.Sleep(settle)
	c.exactly(t, c.finish(t, allowed{}))
}

// inFlight makes calls last long enough for several to be in flight on each server
// whenever it is killed.
func inFlight(servers int) map[int][]string { return all(servers, "-delay", "50ms") }

// lostWith is what may fail when servers of five are killed: orders and streams that they
// had. Of each, a server has 2 and 8 at a time.
func lostWith(servers int, at time.Duration) allowed {
	return allowed{placed: 8 * servers, streams: 24 * servers, from: at, to: at + noticed}
}

// noticed is how long after the end of a server a call may still be sent to it: 10 ms,
// and what a busy machine adds.
const noticed = 100 * time.Millisecond

func TestKillOne(t *testing.T) {
	c := newCluster(t, setup{flags: inFlight(5)})
	killed := c.load.now()
	c.servers[0].kill()
	time.Sleep(settle)
	c.finish(t, lostWith(1, killed))
}

func TestKillTwoAtOnce(t *testing.T) {
	c := newCluster(t, setup{flags: inFlight(5)})
	killed := c.load.now()
	killTogether(c.servers[0], c.servers[1])
	time.Sleep(settle)
	c.finish(t, lostWith(2, killed))
}

// A server that left Consul goes on serving: what shows that it was heard is that
// nobody calls it any more.
func TestDeregistration(t *testing.T) {
	c := newCluster(t, setup{})
	c.servers[0].post(t, "/deregister")
	c.quietWithin(t, c.servers[0], 500*time.Millisecond)
	c.servers[0].leave(t)
	time.Sleep(settle)
	c.exactly(t, c.finish(t, allowed{}))
}

func TestCheckTurnsCritical(t *testing.T) {
	c := newCluster(t, setup{})
	c.servers[0].post(t, "/health?state=critical")
	// The heart-beat comes each second and carries the news.
	c.quietWithin(t, c.servers[0], 1500*time.Millisecond)
	c.servers[0].post(t, "/health?state=passing")
	c.busyWithin(t, c.servers[0], 3*time.Second)
	c.exactly(t, c.finish(t, allowed{}))
}

func TestMaintenance(t *testing.T) {
	c := newCluster(t, setup{})
	maintenance := "http://" + c.agent.Addr + "/v1/agent/service/maintenance/" + c.servers[0].id
	do(t, http.MethodPut, maintenance+"?enable=true&reason=e2e")
	c.quietWithin(t, c.servers[0], 500*time.Millisecond)
	do(t, http.MethodPut, maintenance+"?enable=false")
	c.busyWithin(t, c.servers[0], 2*time.Second)
	c.exactly(t, c.finish(t, allowed{}))
}

func TestWeightChanges(t *testing.T) {
	c := newCluster(t, setup{})
	c.servers[0].post(t, "/weight?weight=400")
	time.Sleep(500 * time.Millisecond) // for the news to arrive
	from := c.load.now()
	time.Sleep(settle)
	to := c.load.now()
	seen := c.finish(t, allowed{})
	c.exactly(t, seen)
	after := c.between(from, to)
	// Its weight makes half of the fleet's; the choice by load shifts that, so the bar
	// says only that the change from a fifth was heard.
	share := float64(after.byInstance[c.servers[0].id]) / float64(after.issued)
	t.Logf("share of %s after the change: %.1f %%", c.servers[0].id, 100*share)
	if share < 0.35 || share > 0.75 {
		t.Errorf("%s with half of all weight gets %.1f %% of the calls: want 35 to 75", c.servers[0].id, 100*share)
	}
}

// quietWithin checks that after d the instance gets no more calls.
func (c *cluster) quietWithin(t *testing.T, srv *server, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	before := srv.counter.Received()
	time.Sleep(time.Second)
	if n := srv.counter.Received() - before; n > 0 {
		t.Errorf("%s received %d calls from %v on: want none", srv.id, n, d)
	}
}

// busyWithin checks that within d the instance gets calls again.
func (c *cluster) busyWithin(t *testing.T, srv *server, d time.Duration) {
	t.Helper()
	before := srv.counter.Received()
	time.Sleep(d)
	if srv.counter.Received() == before {
		t.Errorf("%s received no call within %v", srv.id, d)
	}
}
