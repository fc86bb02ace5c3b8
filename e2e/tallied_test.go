package e2e

import (
	"testing"

	"github.com/surecall/surecall/e2e/internal/counter"
)

// tallied is what became of the calls of a load that runs too long to keep each: the
// harness must not grow where it is to be seen that nothing does.
type tallied struct {
	outcome
	orders []placed // by item
}

type placed uint8

const (
	notPlaced   placed = iota
	toldPlaced         // its caller was told of success
	maybePlaced        // its caller was not
)

func newTallied() *tallied {
	return &tallied{outcome: outcome{byInstance: map[string]int{}}, orders: make([]placed, counter.Items)}
}

func (y *tallied) note(c call) {
	y.add(c)
	y.methods[c.method].add(c)
	y.late = max(y.late, c.begun-c.due)
	if c.err == nil {
		y.byInstance[c.instance]++
	}
	if c.method == place {
		y.orders[c.item] = toldPlaced
		if c.err != nil {
			y.orders[c.item] = maybePlaced
		}
	}
}

// received is what the servers counted so far.
func (c *cluster) received() (n [methods]int) {
	for m := range methods {
		n[m], _ = c.counted(m)
	}
	return n
}

// judgeSoak checks that no idempotent call failed, that of the others only those did that
// a server had when it died or stood still, and that the servers' figures add up.
func (s *soak) judgeSoak(t *testing.T, seen *tallied) {
	t.Helper()
	t.Logf("%d joined, %d left, %d were killed, %d stood still, the agent restarted %d times; %v",
		s.happened[join], s.happened[leave], s.happened[kill], s.happened[stop], s.happened[agent], seen)
	faults := s.happened[kill] + s.happened[stop]
	for m, most := range [methods]int{get: 0, place: 8 * faults, watch: 24 * faults} {
		mine := seen.methods[m]
		if n := len(mine.failed); n > most {
			t.Errorf("%v: %d of %d failed: want at most %d", method(m), n, mine.issued, most)
		}
		if got := s.received()[m] - s.seenBefore[m]; got+len(mine.failed) < mine.issued {
			t.Errorf("%v: servers received %d and %d failed, of %d issued: want at least as many", method(m), got, len(mine.failed), mine.issued)
		}
	}
	for item, was := range seen.orders {
		if was == notPlaced {
			continue
		}
		times := 0
		for _, srv := range s.seen {
			times += srv.counter.Times(item)
		}
		if times > 1 || times == 0 && was == toldPlaced {
			t.Errorf("order %d was executed %d times; its caller was told of success: %v", item, times, was == toldPlaced)
		}
	}
}
