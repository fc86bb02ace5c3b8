package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// outcome is what callers saw between two times.
type outcome struct {
	tally                     // of all methods
	methods    [methods]tally // of each
	late       time.Duration  // the most a call began after it was due: the machine's doing
	byInstance map[string]int // calls answered
	placed     map[int]call   // orders by item
}

// tally is the figures of some calls.
type tally struct {
	issued, ok, slow int
	failed           []call // also streams that broke, in the order in which they were due
	broken           int    // of the failed, streams that broke before their end
	slowest          call
}

func (t *tally) add(c call) {
	t.issued++
	if c.latency() > t.slowest.latency() {
		t.slowest = c
	}
	if c.latency() > slow {
		t.slow++
	}
	if c.err == nil {
		t.ok++
		return
	}
	t.failed = append(t.failed, c)
	if c.broken {
		t.broken++
	}
}

// always is longer than any scenario.
const always = time.Hour

// sum sums up the calls that were due from..to. Their load must have stopped, or to must
// lie so far back that they have ended.
func sum(calls []call, from, to time.Duration) outcome {
	o := outcome{byInstance: map[string]int{}, placed: map[int]call{}}
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.due, b.due) })
	for _, c := range calls {
		if c.due < from || c.due >= to {
			continue
		}
		o.add(c)
		o.methods[c.method].add(c)
		o.late = max(o.late, c.begun-c.due)
		if c.method == place {
			o.placed[c.item] = c
		}
		if c.err == nil {
			o.byInstance[c.instance]++
		}
	}
	return o
}

// String is a table with a line for each method, and the first failures.
func (o outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d calls, begun late by up to %v; answered:", o.issued, round(o.late))
	for _, id := range slices.Sorted(maps.Keys(o.byInstance)) {
		fmt.Fprintf(&b, " %s %d", id, o.byInstance[id])
	}
	fmt.Fprintf(&b, "\n  %-22s %6s %6s %6s %6s %8s %8s %8s", "", "issued", "ok", "failed", "broken", ">"+slow.String(), "slowest", "due at")
	for m, t := range o.methods {
		fmt.Fprintf(&b, "\n  %-22v %6d %6d %6d %6d %8d %8v %8v", method(m), t.issued, t.ok, len(t.failed)-t.broken, t.broken,
			t.slow, t.slowest.latency().Round(time.Millisecond), t.slowest.due.Round(time.Millisecond))
	}
	for i, c := range o.failed {
		if i == 8 {
			fmt.Fprintf(&b, "\n  … and %d more", len(o.failed)-i)
			break
		}
		how := "failed"
		if c.broken {
			how = "broken at " + c.instance
		}
		fmt.Fprintf(&b, "\n  %v %s: due at %v, after %v: %v", c.method, how, round(c.due), round(c.ended-c.due), c.err)
	}
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
