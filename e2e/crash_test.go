package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A server that dies while it leaves: whatever step of it that is, only those calls may
// fail that are not idempotent and that it had at that moment.
func TestCrashWhileLeaving(t *testing.T) {
	// Streams of 3 s are still there when the propagation window is over.
	flags := []string{"-delay", "50ms", "-stream", "3s", "-messages", "15"}
	c := newCluster(t, setup{flags: all(5, flags...)})
	told := 0 // failures of which it is told which server had them
	for n, step := range []struct {
		name, line string // of the lifecycle's log
		after      time.Duration
	}{
		{"after NOT_SERVING", "lifecycle: leaving: health is NOT_SERVING and responses are marked", 0},
		{"while it deregisters", "lifecycle: deregister", 0},
		{"after it deregistered", "lifecycle: deregister done", 0},
		{"as the propagation window begins", "lifecycle: propagation", 20 * time.Millisecond},
		{"in the middle of the propagation window", "lifecycle: propagation", time.Second},
		{"after the propagation window", "lifecycle: propagation done", 0},
		{"as the adaptive wait begins", "lifecycle: adaptive wait", 0},
		{"in the adaptive wait", "lifecycle: adaptive wait", 500 * time.Millisecond},
		{"before GOAWAY", "lifecycle: graceful stop", 0},
		{"after GOAWAY", "lifecycle: graceful stop", 2 * time.Millisecond},
		{"after the graceful stop", "lifecycle: graceful stop done", 0},
		{"in a hook", "lifecycle: hook: consul", 0},
	} {
		srv := c.add(t, spec{
			id:    fmt.Sprintf("orders-crash-%d", n+1),
			flags: append(slices.Clone(flags), "-kill-at", step.line, "-kill-after", step.after.String()),
		})
		c.awaitEligible(t, srv, 5*time.Second)
		c.busyWithin(t, srv, time.Second)
		srv.leave(t)
		died := c.load.now()
		held := [methods]int{}
		for m := range methods {
			calls := m.of(srv.counter)
			held[m] = int(calls.Received.Load() - calls.Answered.Load())
		}
		time.Sleep(deadline + slow)
		var lost [methods]int
		for _, f := range c.between(0, always).failed {
			if f.ended < died-noticed {
				continue // with an earlier one
			}
			lost[f.method]++
			told++
			if f.method == get || f.begun > died+noticed {
				t.Errorf("killed %s, at %v: %v: due at %v, after %v: %v: want failures only of what it had", step.name, round(died), f.method, round(f.due), round(f.ended-f.due), f.err)
			}
		}
		t.Logf("killed %s: it had %d Get, %d Place, %d Watch; failed: %d, %d, %d",
			step.name, held[get], held[place], held[watch], lost[get], lost[place], lost[watch])
		// What it had answered, and not sent yet, it does not count.
		for _, m := range []method{place, watch} {
			if lost[m] > held[m]+1 {
				t.Errorf("killed %s: %d %v failed: want at most the %d that it had", step.name, lost[m], m, held[m])
			}
		}
	}
	c.stop()
	seen := c.between(0, always)
	t.Logf("surecall: %v", seen)
	if len(seen.failed) != told {
		t.Errorf("%d calls failed, %d of them as their server died: want all", len(seen.failed), told)
	}
	c.addUp(t, seen)
	c.control.report(t)
}
