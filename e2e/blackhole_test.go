package e2e

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/event"
)

// The network swallows all that goes to one server of five, and all that comes from it.
// No connection ends, and Consul holds it for healthy.
func TestBlackHole(t *testing.T) {
	c := newCluster(t, setup{servers: 4, flags: inFlight(4), idle: true})
	island := newIsland(t, c.agent.Addr)
	lost := c.add(t, spec{
		id: "orders-island", agent: island.agent, address: island.address + ":0", within: island.name,
		flags: append(inFlight(1)[1], "-control", island.address+":0", "-ttl", "1m"),
	})
	c.begin(t)
	c.busyWithin(t, lost, time.Second)

	began, at := c.load.now(), time.Now()
	island.swallow(t)
	swallowed := c.load.now()
	time.Sleep(hang)
	when, ok := c.callers[0].became(lost, event.Ejected, at)
	if !ok {
		t.Fatalf("not ejected within %v: %+v", hang, c.client.Instances())
	}
	ejected := began + when.Sub(at)
	released := c.load.now()
	island.release(t)
	back := c.await(t, 30*time.Second, lost.id+" is eligible again", func() bool {
		_, ok := c.callers[0].became(lost, event.Eligible, when)
		return ok
	})
	t.Logf("eligible %v after the network's return", round3(back))
	c.busyWithin(t, lost, settle)
	// What is not idempotent, and was sent before anybody could know, waits for its answer
	// until its deadline. Streams are given up when their next message is overdue.
	seen := c.finish(t, allowed{placed: 25, streams: 25, from: began, to: ejected})
	if plain := c.control.seen(); len(plain.failed) == 0 {
		t.Errorf("plain gRPC saw no failure in %d calls: the fault was not there", plain.issued)
	}
	before, between := 0, 0
	for _, f := range seen.methods[place].failed {
		if f.begun < swallowed {
			before++
		} else {
			between++
		}
		if f.begun > ejected {
			t.Errorf("%v: sent %v after the ejection: %v: want none", f.method, round(f.begun-ejected), f.err)
		}
		if took := f.ended - f.begun; status.Code(f.err) != codes.DeadlineExceeded || took < deadline-10*time.Millisecond || took > deadline+slow {
			t.Errorf("%v: ended after %v: %v: want it at its deadline, %v", f.method, round(took), f.err, deadline)
		}
	}
	t.Logf("swallowed for %v; ejected after %v; of the %d Place that failed %d were sent before it, %d between it and the ejection, at %v",
		round3(released-swallowed), round3(ejected-began), before+between, before, between, round3(ejected))
}
