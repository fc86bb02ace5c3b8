package table

import "github.com/surecall/surecall/status"

// tail is what is drawn below all services: lines of bad calls and of events, those of the
// titles not counted.
type tail struct {
	bad, events         int
	allBad, allOfEvents int
}

// wants looks how many lines there are to draw.
func (t *tail) wants(all []status.Status) {
	for n := range all {
		t.allBad += len(all[n].BadCalls)
		t.allOfEvents += len(all[n].Events)
	}
}

// grant gives lines out of budget until there are so many of each, and returns how many it
// gave.
func (t *tail) grant(budget, bad, events int) (given int) {
	give := func(has *int, wants int) bool {
		cost := 1
		if *has == 0 {
			cost = 2 // with the title
		}
		if *has >= wants || given+cost > budget {
			return false
		}
		*has++
		given += cost
		return true
	}
	for {
		one, two := give(&t.events, min(events, t.allOfEvents)), give(&t.bad, min(bad, t.allBad))
		if !one && !two {
			return given
		}
	}
}

func (t *tail) draw(all []status.Status, spaced bool) (lines []line) {
	if spaced && t.bad+t.events > 0 {
		lines = append(lines, line{})
	}
	if t.bad > 0 {
		lines = append(lines, line{{"CALLS THAT FAILED OR WERE MENDED", dim}})
		lines = append(lines, badCalls(all, t.bad)...)
	}
	if t.events > 0 {
		lines = append(lines, line{{"EVENTS", dim}})
		lines = append(lines, timeline(all, t.events)...)
	}
	return lines
}
