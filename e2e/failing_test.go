package e2e

import (
	"testing"
	"time"
)

// A server that asks for a token everywhere refuses the health Watch: that says nothing
// about its health.
func TestHealthChecksRejected(t *testing.T) {
	c := newCluster(t, setup{flags: map[int][]string{1: {"-health-auth"}}})
	time.Sleep(settle)
	seen := c.finish(t, allowed{})
	c.exactly(t, seen)
	if got := seen.byInstance["orders-1"]; got < seen.issued/10 {
		t.Errorf("orders-1 rejects health checks and got %d of %d calls: want about a fifth", got, seen.issued)
	}
}

func TestAllHealthChecksRejected(t *testing.T) {
	c := newCluster(t, setup{flags: all(5, "-health-auth")})
	time.Sleep(settle)
	c.exactly(t, c.finish(t, allowed{}))
}

func TestOneFailsAlways(t *testing.T) { oneFails(t, "always") }

func TestOneFailsHalfOfTheTime(t *testing.T) { oneFails(t, "half") }

func oneFails(t *testing.T, how string) {
	c := newCluster(t, setup{flags: map[int][]string{1: {"-fail", how}}})
	time.Sleep(4 * settle) // its breaker opens, tries again after 5 s, and opens
	// It says UNAVAILABLE, and may have executed the call: only idempotent ones are repeated.
	c.finish(t, allowed{placed: 15, streams: 10})
	if seen := c.control.seen(); len(seen.failed) == 0 {
		t.Errorf("plain gRPC saw no failure in %d calls: the fault was not there", seen.issued)
	}
}
