package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const (
	longest  = 3 * time.Second // call of the rolling restarts: a stream
	drainBar = time.Second     // by how much the leaving of a server may take longer
)

// All five servers are restarted three times under SIGTERM with default durations, while
// four surecall clients and one of plain gRPC make 2,000 calls a second.
func TestRollingRestartForAll(t *testing.T) { withoutRaceDetector(t, rollingRestartForAll) }

func rollingRestartForAll(t *testing.T) {
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{flags: all(5, "-stream", longest.String()), idle: true, patient: true})
		for range 4 {
			c.newCaller(t).await(t)
		}
		c.client = c.callers[0].client
		c.newPlain(t, `{"loadBalancingConfig":[{"round_robin":{}}]}`) // it does not even ask for health
		c.zero = time.Now()
		for _, caller := range c.callers {
			caller.run(t, rate)
		}
		c.load = c.callers[0].load
		time.Sleep(settle)
		var leavings []time.Duration
		for round := range 3 {
			for n, old := range c.servers[:5] {
				next := old.spec
				if round != 1 { // on a new port: the new one comes before the old one goes
					next.id, next.address, next.counter = fmt.Sprintf("orders-%d-of-round-%d", n+1, round+1), "", nil
					c.servers[n] = c.comes(t, next)
				}
				took := old.drain(t)
				t.Logf("round %d: %s was gone %v after SIGTERM", round+1, old.id, round3(took))
				leavings = append(leavings, took)
				if round == 1 { // in the same place
					next.address = old.address
					c.servers[n] = c.comes(t, next)
				}
			}
		}
		time.Sleep(settle)
		c.finish(t, allowed{})
		slices.Sort(leavings)
		median := leavings[len(leavings)/2]
		t.Logf("the longest call takes %v; of %d leavings the shortest took %v, the median %v, the longest %v",
			longest, len(leavings), round3(leavings[0]), round3(median), round3(leavings[len(leavings)-1]))
		if median > longest+drainBar {
			return fmt.Sprintf("servers left in %v: want at most %v more than the longest call, %v", round3(median), drainBar, longest)
		}
		return ""
	})
}

// comes starts a server, and returns when all clients of surecall hold it eligible.
func (c *cluster) comes(t *testing.T, s spec) *server {
	t.Helper()
	srv := c.launch(t, s)
	if !c.counts(srv) {
		c.seen = append(c.seen, srv)
	}
	for _, caller := range c.callers {
		if caller.client != nil {
			caller.awaitEligible(t, srv, 10*time.Second)
		}
	}
	return srv
}

// counts reports whether the server's counter is one that is summed up already: one that
// was restarted goes on counting where it was.
func (c *cluster) counts(srv *server) bool {
	for _, s := range c.seen {
		if s.counter == srv.counter {
			return true
		}
	}
	return false
}

// drain asks the server to go, and returns how long that took.
func (s *server) drain(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	s.leave(t)
	return time.Since(began)
}

func round3(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
