package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/surecall/surecall/status"
)

// Options say what there is to draw on. The zero value is for a file: as wide and as high
// as it takes, without colour.
type Options struct {
	Width  int    // columns; 0: as many as it takes, at most 4,096
	Height int    // lines; 0: as many as it takes
	Color  bool   // repeat in colour what symbols and words say
	ASCII  bool   // for a terminal that knows no other characters
	Note   string // the last line
}

// most is how wide a line can be.
const most = 4096

func (o Options) columns() int {
	if o.Width <= 0 || o.Width > most {
		return most
	}
	return o.Width
}

// What stands below the instances: at least, if there are as many, and with room to spare.
const (
	leastEvents, mostEvents = 4, 12
	leastBad, mostBad       = 2, 6
)

// Render draws the services, and returns lines that end with a newline, the last one too.
func Render(all []status.Status, o Options) string {
	lines := draw(all, o)
	if o.Note != "" {
		lines = append(lines, line{{o.Note, dim}})
	}
	if o.Height > 0 && len(lines) > o.Height {
		lines = lines[len(lines)-o.Height:] // of one line there is only room for the note
	}
	return written(lines, o)
}

// List draws the instances of the services, one line each, and below them a line on each
// service that counts them and says what the source answered.
func List(all []status.Status, o Options) string {
	var lines []line
	for n := range all {
		s := &all[n]
		if n > 0 {
			lines = append(lines, line{})
		}
		if sorted, _ := byTrouble(s.Instances); len(sorted) > 0 {
			lines = append(lines, grid(s, sorted, o)...)
		}
		sum := append(line{{s.Service + ": ", bold}}, states(s.Instances)...).and("; source: ", plain)
		lines = append(lines, append(sum, source(s)[1:]...))
	}
	return written(lines, o)
}

func written(lines []line, o Options) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.write(o))
		b.WriteByte('\n')
	}
	return b.String()
}

// part is what is drawn of one service.
type part struct {
	status   *status.Status
	head     []line
	sorted   []*status.Instance
	troubles int
	heads    int // lines of the head
	body     int // lines of the instances, with that of the titles
}

// draw lays out what Render draws, but for the note.
func draw(all []status.Status, o Options) []line {
	if len(all) == 0 {
		return []line{text("no client")}
	}
	left := o.Height
	switch {
	case o.Height <= 0:
		left = 1 << 30
	case o.Note != "":
		left--
	}
	parts, unseen := partsOf(all, max(1, left))
	tail, spaced := share(parts, left-len(parts)-unseen, all)
	var lines []line
	for n := range parts {
		if n > 0 && spaced {
			lines = append(lines, line{})
		}
		lines = append(lines, parts[n].head[:parts[n].heads]...)
		lines = append(lines, parts[n].instances(o)...)
	}
	if unseen > 0 {
		lines = append(lines, line{{"… and " + of(len(all)-len(parts), "more service"), dim}})
	}
	return append(lines, tail.draw(all, spaced)...)
}

// partsOf returns the services that have room for one line each; unseen is 1 if another
// line says how many have none.
func partsOf(all []status.Status, room int) (parts []part, unseen int) {
	seen := len(all)
	if seen > room {
		seen, unseen = room-1, 1
	}
	for n := range all[:seen] {
		p := part{status: &all[n], head: head(&all[n]), heads: 1}
		p.sorted, p.troubles = byTrouble(all[n].Instances)
		parts = append(parts, p)
	}
	return parts, unseen
}

// share gives the lines that are left to what tells most, in this order: half of them to
// the heads; a third of the rest to the least of the tail; instances in trouble; all
// instances; more of the tail.
func share(parts []part, left int, all []status.Status) (tail tail, spaced bool) {
	tail.wants(all)
	if blank := len(parts) + 1; left >= 12*blank {
		left, spaced = left-blank, true
	}
	left -= grant(left/2, parts, func(p *part) (*int, int) { return &p.heads, len(p.head) })
	left -= tail.grant(left/3, leastBad, leastEvents)
	left -= grant(left, parts, func(p *part) (*int, int) { return &p.body, p.lines(p.troubles) })
	left -= grant(left, parts, func(p *part) (*int, int) { return &p.body, p.lines(len(p.sorted)) })
	tail.grant(left, mostBad, mostEvents)
	return tail, spaced
}

// lines is how many it takes to draw n instances.
func (p *part) lines(n int) int {
	switch {
	case n == 0:
		return 0
	case n < len(p.sorted):
		return n + 2 // the titles, and how many more there are
	}
	return n + 1
}

// grant gives out up to budget lines, one by one in turn, until each part has what it
// wants, and returns how many it gave.
func grant(budget int, parts []part, want func(*part) (has *int, wants int)) (given int) {
	for again := true; again; {
		again = false
		for n := range parts {
			if has, wants := want(&parts[n]); *has < wants && given < budget {
				*has++
				given++
				again = true
			}
		}
	}
	return given
}

// instances draws as many as there are lines for.
func (p *part) instances(o Options) []line {
	room := p.body - 1
	if p.body == 0 {
		return nil
	}
	if room >= len(p.sorted) {
		return grid(p.status, p.sorted, o)
	}
	lines := []line{}
	if room--; room > 0 {
		lines = grid(p.status, p.sorted[:room], o)
	}
	return append(lines, p.more(max(0, room)))
}

// more counts the instances that are not drawn.
func (p *part) more(drawn int) line {
	counts := map[string]int{}
	for _, i := range p.sorted[drawn:] {
		counts[i.State]++
	}
	var named []string
	for _, state := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	}) {
		named = append(named, fmt.Sprintf("%d %s", counts[state], state))
	}
	return line{{fmt.Sprintf("… and %d more: %s", len(p.sorted)-drawn, strings.Join(named, ", ")), dim}}
}

// Text returns a text of unknown origin as one line that a terminal may be given.
func Text(s string) string { return written([]line{text(s)}, Options{}) }
