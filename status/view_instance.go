package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/surecall/surecall/event"
)

// look is how a state is shown: never by colour alone.
type look struct {
	Tone string // "ok", "warn", "bad" or "idle"
	Mark string // the symbol's name in the page
	rank int    // what needs a look most comes first
}

// looks is how an instance is shown.
func looks(i *Instance) look {
	switch state := event.State(i.State); state {
	case event.Failed:
		return look{"bad", "cross", 0}
	case event.Ejected:
		return look{"bad", "stop", 1}
	case event.Suspect:
		return look{"warn", "alert", 2}
	case event.NotServing:
		return look{"warn", "minus", 3}
	case event.Overruled:
		return look{"warn", "half", 4}
	case event.Absent:
		return look{"warn", "half", 5}
	case event.Draining:
		return look{"idle", "down", 6}
	case event.Connecting:
		return look{"idle", "dots", 7}
	case event.Eligible:
		if i.Eligible {
			return look{"ok", "full", 9}
		}
		return look{"warn", "half", 8}
	case event.Standby:
		return look{"idle", "ring", 10}
	}
	return look{"warn", "alert", 2}
}

// instanceRow is one line of the table of instances. It is comparable: a line that says
// the same as before is not rendered again.
type instanceRow struct {
	look
	ID, Name, Address, Place, State, Why string
	Weight, Held                         string
	Share                                bar
	InFlight, Streams                    string
	Load                                 bar
	Latency                              string
	Slowness                             bar
	Breaker                              breakerCell

	key string
}

// bar is a small bar, of as many units as steps at most; Shown is false if there is nothing
// to compare.
type bar struct {
	Shown bool
	Width int
	Tone  string
}

// steps is how finely a bar is drawn: the style sheet has a class for each.
const steps = 24

func barOf(part, whole float64) bar {
	f := fraction(part, whole)
	b := bar{Shown: whole > 0, Width: int(f*steps + 0.5)}
	if f > 0 {
		b.Width = max(1, b.Width)
	}
	return b
}

// breakerCell is a breaker in a few words.
type breakerCell struct {
	Tone, Mark, State, Window, Note string
}

func breakerOf(b *Breaker) breakerCell {
	if b == nil {
		return breakerCell{Tone: "idle", Mark: "ring", State: "off"}
	}
	c := breakerCell{Tone: "ok", Mark: "full", State: clean(b.State, 20)}
	switch b.State {
	case "closed":
	case "half-open":
		c.Tone, c.Mark = "warn", "half"
	default:
		c.Tone, c.Mark = "bad", "stop"
	}
	switch {
	case b.Requests > 0:
		c.Window = fmt.Sprintf("%s of %s failed", count(b.Failures), count(b.Requests))
	case b.Failures > 0: // the service's counts those only
		c.Window = plural(b.Failures, "failure") + ", no success"
	}
	var notes []string
	if b.Run > 1 && b.Requests > 0 {
		notes = append(notes, fmt.Sprintf("%s in a row", count(b.Run)))
	}
	if b.State != "closed" && !b.Until.IsZero() {
		notes = append(notes, "a trial from "+clock(b.Until))
	}
	if b.Ejections > 0 {
		notes = append(notes, fmt.Sprintf("ejected %s×", count(b.Ejections)))
	}
	if b.Mode != "" {
		notes = append(notes, clean(b.Mode, 40)+" by hand")
	}
	if b.Overruled {
		notes = append(notes, "overruled: too many are open")
	}
	if b.DryRun {
		notes = append(notes, "dry run")
	}
	c.Note = strings.Join(notes, ", ")
	return c
}

// most is what a fleet's bars are measured by.
type most struct{ weight, inFlight, latency float64 }

func mostOf(all []Instance) (m most) {
	for n := range all {
		i := &all[n]
		m.weight = max(m.weight, float64(i.Weight))
		m.inFlight = max(m.inFlight, float64(i.InFlight))
		if i.Latency < 1e6 { // not of NaN either
			m.latency = max(m.latency, i.Latency)
		}
	}
	return m
}

func rowOf(i *Instance, m most) instanceRow {
	row := instanceRow{
		look: looks(i), key: i.ID + "\n" + i.Address + "\n" + i.Incarnation,
		Name: clean(i.ID, 80), Address: clean(i.Address, 80), State: clean(i.State, 20), Why: clean(i.Why, 300),
		Place: clean(joined(" / ", i.Region, i.Zone), 60), Weight: count(i.Weight), Breaker: breakerOf(i.Breaker),
		InFlight: count(i.InFlight), Latency: measured(i.Latency), Slowness: barOf(i.Latency, m.latency),
	}
	if i.Priority > 0 {
		row.Place = joined(", ", row.Place, fmt.Sprintf("priority %d", i.Priority))
	}
	if i.State == string(event.Eligible) && !i.Eligible {
		row.State += ", passed over"
	}
	if i.Mode != "" {
		row.Why = joined("; ", row.Why, clean(i.Mode, 40)+" by hand")
	}
	row.Share = barOf(float64(i.Weight)*i.SlowStart*i.Share, m.weight)
	var held []string
	if i.SlowStart < 1 {
		held = append(held, "slow start "+percent(i.SlowStart))
	}
	if i.Share < 1 {
		held = append(held, "held to "+percent(i.Share))
	}
	if i.Rest > 0 {
		held = append(held, "rests "+seconds(i.Rest))
	}
	row.Held = strings.Join(held, ", ")
	row.Load = barOf(float64(i.InFlight), m.inFlight)
	if i.Limit > 0 {
		row.InFlight += " / " + count(i.Limit)
		row.Load = barOf(float64(i.InFlight), float64(i.Limit))
		if i.InFlight >= i.Limit {
			row.Load.Tone = "warn"
		}
	}
	switch {
	case i.StreamLimit > 0:
		row.Streams = fmt.Sprintf("%s / %s streams", count(i.Streams), count(i.StreamLimit))
	case i.Streams > 0:
		row.Streams = plural(i.Streams, "stream")
	}
	return row
}

// cut says what of a fleet is not in the table.
type cut struct {
	ID      string
	Hidden  string // how many fit, and are not shown; empty: none
	Shown   string
	Known   string
	Query   string
	Summary string
}

// instancesOf returns the lines of those that query fits, at most so many.
func instancesOf(s *Status, query string, rows int) ([]instanceRow, cut) {
	m := mostOf(s.Instances)
	var fit []*Instance
	query = strings.ToLower(query)
	for n := range s.Instances {
		if i := &s.Instances[n]; query == "" || strings.Contains(strings.ToLower(i.ID+" "+i.Address+" "+i.Region+" "+i.Zone+" "+i.State+" "+i.Why), query) {
			fit = append(fit, i)
		}
	}
	slices.SortStableFunc(fit, byTrouble)
	shown := min(rows, len(fit))
	lines := make([]instanceRow, shown)
	for n, i := range fit[:shown] {
		lines[n] = rowOf(i, m)
	}
	c := cut{Shown: count(shown), Known: plural(len(s.Instances), "instance"), Query: query}
	if hidden := len(fit) - shown; hidden > 0 {
		c.Hidden = count(hidden)
	}
	rest := map[string]int{}
	for _, i := range fit[shown:] {
		rest[clean(i.State, 20)]++
	}
	c.Summary = counted(rest)
	return lines, c
}

// counted says how many there are of each, the most first.
func counted(of map[string]int) string {
	type pair struct {
		name string
		n    int
	}
	var pairs []pair
	for name, n := range of {
		pairs = append(pairs, pair{name, n})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.name, b.name)) })
	var words []string
	for _, p := range pairs {
		words = append(words, count(p.n)+" "+p.name)
	}
	return strings.Join(words, ", ")
}

// joined joins those that are not empty.
func joined(by string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), by)
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}
