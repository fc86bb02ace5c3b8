package e2e

import (
	"fmt"
	"testing"
	"time"
)

const (
	cold    = 3 * time.Second        // how long after its start a server is cold
	tooSlow = 500 * time.Millisecond // a call above it met a cold server, which takes 0.8 s
)

// A sixth server joins that needs 3 s to warm up, in which its answers take 0.8 s more.
// It calls itself until it is warm, and registers then: nobody notices.
func TestColdInstanceWarmsUp(t *testing.T) {
	if n, of := coldJoins(t, "-warm-up"); n > 0 {
		t.Errorf("%d of %d calls were slow: want none", n, of)
	}
}

// It registers too early: slow start and the choice by load leave it few calls.
func TestColdInstanceRegistersTooEarly(t *testing.T) {
	if n, of := coldJoins(t); n == 0 || n > of/100 {
		t.Errorf("%d of %d calls were slow: want some, for it was cold, and at most one in a hundred", n, of)
	}
}

// coldJoins returns how many calls were slow in the time in which the server is cold, and
// just after.
func coldJoins(t *testing.T, flags ...string) (n, of int) {
	t.Helper()
	c := newCluster(t, setup{})
	from := c.load.now()
	flags = append(flags, "-cold", cold.String())
	late := c.add(t, spec{id: "orders-late", flags: flags})
	joined := c.load.now()
	c.awaitEligible(t, late, 5*time.Second)
	time.Sleep(max(0, cold+settle-(c.load.now()-from)))
	to := max(from+cold, joined+settle)
	time.Sleep(to + deadline + settle - c.load.now())
	seen := c.finish(t, allowed{})
	c.exactly(t, seen)
	var slow [methods]int
	for _, call := range c.callers[0].took() {
		if call.due >= from && call.due < to {
			of++
			if call.latency() > tooSlow {
				slow[call.method]++
				n++
			}
		}
	}
	t.Logf("%v: registered %v after its start, got %d calls in all; slow until %v: %s", flags, round(joined-from), seen.byInstance["orders-late"],
		round(to-from), fmt.Sprintf("%d Get, %d Place, %d Watch of %d", slow[get], slow[place], slow[watch], of))
	return n, of
}
