package e2e

import (
	"cmp"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/internal/consultest"
)

const service = "orders"

// cluster is a Consul agent, servers, clients with default options, and a load on them.
type cluster struct {
	setup
	dir     string
	servers []*server // in the order of their start
	hosting sync.Mutex
	seen    []*server // every one there ever was, for the sums; guarded by hosting while instances are hosted
	callers []*caller
	zero    time.Time        // of the loads' times
	client  *surecall.Client // of the first caller
	load    *load            // of the first caller
	control *control
}

// setup says how a cluster differs from five plain servers on an agent that keeps
// nothing, and one client with no options on the same agent.
type setup struct {
	servers     int               // default 5
	flags       map[int][]string  // further flags of the n-th server
	agent       *consultest.Agent // of the servers; default a new one
	keep        bool              // the new agent keeps its data
	registerVia string            // host:port where the servers find it; default the agent
	token       string            // ACL token of the servers
	via         string            // host:port where the client finds Consul; default the agent
	query       string            // of the client's target, from the question mark on
	options     []surecall.Option // of the client, for tests that are about one
	idle        bool              // the load is started by the test, with begin
	patient     bool              // calls have the deadline patience, as without a control
	// noControl leaves out the control, where no latency is judged and the fault is not the
	// instances': plain gRPC would only show that it does without Consul.
	noControl bool
}

// newCluster starts everything and returns when every instance is eligible and the load
// has been running for a second.
func newCluster(t *testing.T, s setup) *cluster {
	t.Helper()
	needBinaries(t)
	c := &cluster{setup: s, dir: t.TempDir()}
	if c.agent == nil {
		var err error
		if c.agent, err = consultest.New(binaries.consul, c.dir, consultest.Options{Keep: s.keep}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.agent.Stop)
	}
	for n := range cmp.Or(s.servers, 5) {
		c.add(t, spec{id: fmt.Sprintf("orders-%d", n+1), flags: s.flags[n+1]})
	}
	if !s.idle {
		c.begin(t)
	}
	return c
}

// begin adds the first client, and starts its load when every instance is eligible.
func (c *cluster) begin(t *testing.T) {
	t.Helper()
	first := c.newCaller(t, c.options...)
	c.client = first.client
	first.await(t)
	c.zero = time.Now()
	if !c.noControl {
		c.control = newControl(t, c.servers, c.zero)
	}
	first.run(t, rate)
	c.load = first.load
	time.Sleep(time.Second)
}

// add starts a further server.
func (c *cluster) add(t *testing.T, s spec) *server {
	t.Helper()
	srv := c.launch(t, s)
	c.servers = append(c.servers, srv)
	c.seen = append(c.seen, srv)
	return srv
}

// restart starts the n-th server again, with the same ID at the same address, and
// returns how long after it served the client held it eligible.
func (c *cluster) restart(t *testing.T, n int) time.Duration {
	t.Helper()
	old := c.servers[n]
	again := old.spec
	again.address = old.address
	c.servers[n] = c.launch(t, again)
	return c.awaitEligible(t, c.servers[n], 10*time.Second)
}

// awaitEligible waits until the first client holds the instance eligible, and returns
// how long after it began to serve that was.
func (c *cluster) awaitEligible(t *testing.T, srv *server, timeout time.Duration) time.Duration {
	t.Helper()
	return c.callers[0].awaitEligible(t, srv, timeout)
}

// await waits until ok, and returns how long that took.
func (c *cluster) await(t *testing.T, timeout time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > timeout {
			t.Fatalf("waited %v until %s, in vain; the client holds %+v", timeout, what, c.client.Instances())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// between sums up what all callers saw of the calls that were due from..to: see sum.
func (c *cluster) between(from, to time.Duration) outcome {
	var calls []call
	for _, one := range c.callers {
		calls = append(calls, one.took()...)
	}
	return sum(calls, from, to)
}

// retried is how many attempts the clients say they retried.
func (c *cluster) retried(m method) int {
	n := 0
	for _, one := range c.callers {
		n += int(one.retried[m].Load())
	}
	return n
}

// stop ends the loads and waits for the calls in flight.
func (c *cluster) stop() {
	var all sync.WaitGroup
	for _, one := range c.callers {
		if one.load != nil {
			all.Go(one.load.stop)
		}
	}
	all.Wait()
}
