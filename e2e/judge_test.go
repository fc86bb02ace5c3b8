package e2e

import (
	"testing"
	"time"
)

// allowed is how many calls a scenario may fail that surecall cannot make good: those
// that an instance had, and may have executed, when it died. Idempotent calls are never
// among them. The zero value allows none.
type allowed struct {
	placed  int // Place
	streams int // Watch, broken or failed
	// Such a call was due before to and ended after from; to 0 means at any time.
	from, to time.Duration
}

// finish ends all loads and checks what holds in every scenario: no call failed but those
// that may, and what the servers counted adds up with what the callers saw.
func (c *cluster) finish(t *testing.T, may allowed) outcome {
	t.Helper()
	c.stop()
	seen := c.between(0, always)
	if len(c.callers) > 1 {
		for _, caller := range c.callers {
			t.Logf("%v: %v", caller, sum(caller.took(), 0, always))
		}
	}
	t.Logf("all clients: %v", seen)
	c.judge(t, seen, may)
	c.addUp(t, seen)
	c.control.report(t)
	return seen
}

// judge checks who failed.
func (c *cluster) judge(t *testing.T, seen outcome, may allowed) {
	t.Helper()
	for m, most := range [methods]int{get: 0, place: may.placed, watch: may.streams} {
		if n := len(seen.methods[m].failed); n > most {
			t.Errorf("%v: %d of %d failed: want at most %d", method(m), n, seen.methods[m].issued, most)
		}
	}
	if len(seen.failed) > 0 && seen.late > slow {
		t.Logf("calls began late by up to %v: this machine stood still, and no call can be better than its machine", round(seen.late))
	}
	for _, f := range seen.failed {
		if may.to > 0 && (f.ended < may.from || f.due > may.to) {
			t.Errorf("%v: due at %v, after %v: %v: want failures from %v to %v only", f.method, round(f.due), round(f.ended-f.due), f.err, round(may.from), round(may.to))
		}
	}
}

// addUp compares the callers' figures with the servers'.
func (c *cluster) addUp(t *testing.T, seen outcome) {
	t.Helper()
	answeredBy := map[string]int{}
	for _, srv := range c.seen {
		answeredBy[srv.id] = int(srv.counter.Get.Answered.Load() + srv.counter.Placed.Answered.Load() + srv.counter.Watch.Answered.Load())
	}
	for id, n := range seen.byInstance {
		if n > answeredBy[id] {
			t.Errorf("%s answered %d calls, callers say %d", id, answeredBy[id], n)
		}
	}
	for m := range methods {
		mine := seen.methods[m]
		if mine.ok+len(mine.failed) != mine.issued {
			t.Errorf("%v: %d succeeded and %d failed of %d issued: want the sum", m, mine.ok, len(mine.failed), mine.issued)
		}
		received, answered := c.counted(m)
		if received+len(mine.failed) < mine.issued {
			t.Errorf("%v: servers received %d and %d failed, of %d issued: want at least as many", m, received, len(mine.failed), mine.issued)
		}
		t.Logf("%v: servers received %d, answered %d; callers: %d issued, %d answered, %d attempts retried; received beyond issued: %d",
			m, received, answered, mine.issued, mine.ok, c.retried(m), received-mine.issued)
	}
	c.placedOnce(t, seen)
}

// counted returns what the servers counted of a method.
func (c *cluster) counted(m method) (received, answered int) {
	for _, srv := range c.seen {
		calls := m.of(srv.counter)
		received += int(calls.Received.Load())
		answered += int(calls.Answered.Load())
	}
	return received, answered
}

// placedOnce checks that what is not idempotent was executed once if its caller was told
// of success, and never twice.
func (c *cluster) placedOnce(t *testing.T, seen outcome) {
	t.Helper()
	wrong := 0
	for item, order := range seen.placed {
		times := 0
		for _, srv := range c.seen {
			times += srv.counter.Times(item)
		}
		if times > 1 || times == 0 && order.err == nil {
			if wrong++; wrong <= 5 {
				t.Errorf("order %d was executed %d times; its caller saw %v", item, times, order.err)
			}
		}
	}
	if wrong > 5 {
		t.Errorf("… and %d orders more", wrong-5)
	}
}

// exactly checks that nothing was received but the calls and the retries that the
// client told of: nothing went wrong that would allow more. A retry is possible all the
// same: on a machine that stands still for a tenth of a second, an attempt is overdue.
func (c *cluster) exactly(t *testing.T, seen outcome) {
	t.Helper()
	for m := range methods {
		issued, retried := seen.methods[m].issued, c.retried(m)
		if received, _ := c.counted(m); received < issued || received > issued+retried {
			t.Errorf("%v: servers received %d of %d calls issued and %d attempts retried: want the sum", m, received, issued, retried)
		}
	}
}
