package e2e

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/consultest"
)

const service = "orders"

// cluster is a Consul agent, servers, a client with default options, and a load on it.
type cluster struct {
	agent   *consultest.Agent
	dir     string
	servers []*server // in the order of their start
	seen    []*server // every one there ever was, for the sums
	lives   int
	client  *surecall.Client
	retried atomic.Int64 // attempts, as the client tells
	control *control
	load    *load
}

// setup says how a cluster differs from five plain servers on an agent that keeps
// nothing.
type setup struct {
	servers int              // default 5
	keep    bool             // the agent keeps its data
	flags   map[int][]string // further flags of the n-th server
}

// newCluster starts everything and returns when every instance is eligible and the load
// has been running for a second.
func newCluster(t *testing.T, s setup) *cluster {
	t.Helper()
	needBinaries(t)
	if s.servers == 0 {
		s.servers = 5
	}
	c := &cluster{dir: t.TempDir()}
	var err error
	if c.agent, err = consultest.New(binaries.consul, c.dir, consultest.Options{Keep: s.keep}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.agent.Stop)
	for n := range s.servers {
		c.add(t, spec{id: fmt.Sprintf("orders-%d", n+1), flags: s.flags[n+1]})
	}

	target := "consul://" + c.agent.Addr + "/" + service
	t.Logf("client: surecall.NewClient(%q, surecall.WithInsecure(), and a handler that counts retries); nothing else is set", target)
	told := os.Getenv("E2E_EVENTS") == "1" // to find out why a scenario fails
	count := func(e event.Event) {
		if _, ok := e.(event.AttemptRetried); ok {
			c.retried.Add(1)
		}
		if told {
			t.Logf("%s %T %+v", time.Now().Format("05.000"), e, e)
		}
	}
	if c.client, err = surecall.NewClient(target, surecall.WithInsecure(), surecall.WithEvents(count)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.client.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := c.client.WaitReady(ctx); err != nil {
		t.Fatalf("the client is not ready: %v", err)
	}
	for _, srv := range c.servers {
		c.awaitEligible(t, srv, startTimeout)
	}
	c.control = newControl(t, c.servers)
	c.load = startLoad(t, c.client, rate, "")
	time.Sleep(time.Second)
	return c
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

// awaitEligible waits until the client holds the instance eligible, and returns how
// long after it began to serve that was.
func (c *cluster) awaitEligible(t *testing.T, srv *server, timeout time.Duration) time.Duration {
	t.Helper()
	for {
		for _, i := range c.client.Instances() {
			if i.ID == srv.id && i.State == event.Eligible {
				return time.Since(srv.servingAt)
			}
		}
		if time.Since(srv.servingAt) > timeout {
			t.Fatalf("%s is not eligible %v after it began to serve: %+v", srv.id, timeout, c.client.Instances())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// finish ends the load and checks what holds in every scenario: no call failed, and
// what the servers counted adds up with what the callers saw.
func (c *cluster) finish(t *testing.T) outcome {
	t.Helper()
	c.load.stop()
	seen := c.load.all()
	t.Logf("surecall: %v", seen)
	if n := len(seen.failed); n > 0 {
		t.Errorf("%d of %d calls failed: want none", n, seen.issued)
	}
	c.addUp(t, seen)
	c.control.report(t)
	return seen
}

// addUp compares the callers' figures with the servers'.
func (c *cluster) addUp(t *testing.T, seen outcome) {
	t.Helper()
	if seen.ok+len(seen.failed) != seen.issued {
		t.Errorf("%d succeeded and %d failed of %d issued: want the sum", seen.ok, len(seen.failed), seen.issued)
	}
	received, answered := 0, 0
	for _, srv := range c.seen {
		received += int(srv.counter.Received.Load())
		answers := int(srv.counter.Answered.Load())
		answered += answers
		if got := seen.byInstance[srv.id]; got > answers {
			t.Errorf("%s answered %d calls, callers say %d", srv.id, answers, got)
		}
	}
	if received+len(seen.failed) < seen.issued {
		t.Errorf("servers received %d and %d failed, of %d issued: want at least as many", received, len(seen.failed), seen.issued)
	}
	t.Logf("servers: received %d, answered %d; callers: %d issued, %d answered, %d attempts retried; received beyond issued: %d",
		received, answered, seen.issued, seen.ok, c.retried.Load(), received-seen.issued)
}

// exactly checks that nothing was received but the calls and the retries that the
// client told of: nothing went wrong that would allow more. A retry is possible all the
// same: on a machine that stands still for a tenth of a second, an attempt is overdue.
func (c *cluster) exactly(t *testing.T, seen outcome) {
	t.Helper()
	received := 0
	for _, srv := range c.seen {
		received += int(srv.counter.Received.Load())
	}
	retried := int(c.retried.Load())
	if received < seen.issued || received > seen.issued+retried {
		t.Errorf("servers received %d of %d calls issued and %d attempts retried: want the sum", received, seen.issued, retried)
	}
}
