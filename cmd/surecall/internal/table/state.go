package table

import (
	"cmp"
	"slices"
	"strings"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// look is how a state is shown.
type look struct {
	state  event.State
	symbol string
	ascii  string
	style  style
}

// looks are all states, those first that are most trouble.
func looks() []look {
	return []look{
		{event.Failed, "✗", "x", red},
		{event.Ejected, "⊘", "!", red},
		{event.Suspect, "?", "?", red},
		{event.NotServing, "■", "#", red},
		{event.Overruled, "▲", "^", yellow},
		{event.Draining, "↓", "v", cyan},
		{event.Absent, "◐", "-", yellow},
		{event.Connecting, "◌", ".", cyan},
		{event.Eligible, "●", "+", green},
		{event.Standby, "○", "o", dim},
	}
}

// quiet is the first state of looks that is no trouble.
const quiet = event.Eligible

// rank returns the place of a state in looks; one that is newer than they are is trouble.
func rank(state string) int {
	return slices.IndexFunc(looks(), func(l look) bool { return string(l.state) == state })
}

func lookOf(state string) look {
	if n := rank(state); n >= 0 {
		return looks()[n]
	}
	return look{state: event.State(state), symbol: "?", ascii: "?", style: yellow}
}

// named is the symbol and the name of a state: colour only repeats them.
func (l look) named(ascii bool) string {
	symbol := l.symbol
	if ascii {
		symbol = l.ascii
	}
	return symbol + " " + string(l.state)
}

// troubled reports whether an operator should see the instance first.
func troubled(i *status.Instance) bool {
	return rank(i.State) < rank(string(quiet)) || i.Mode != "" || i.Rest > 0 || i.Share < 1 || open(i.Breaker)
}

func open(b *status.Breaker) bool { return b != nil && b.State != "closed" }

// byTrouble returns the instances, those in trouble first, and how many those are.
func byTrouble(all []status.Instance) (sorted []*status.Instance, troubles int) {
	for n := range all {
		sorted = append(sorted, &all[n])
		if troubled(&all[n]) {
			troubles++
		}
	}
	slices.SortStableFunc(sorted, func(a, b *status.Instance) int {
		return cmp.Or(
			-compareBool(troubled(a), troubled(b)),
			cmp.Compare(rank(a.State), rank(b.State)),
			natural(a.ID, b.ID),
		)
	})
	return sorted, troubles
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// natural compares names as people count: "orders-2" is before "orders-10".
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x == "" || y == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		m, n := strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if order := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); order != 0 {
			return order
		}
		a, b = a[len(x):], b[len(y):]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns those that text begins with.
func digits(text string) string {
	return text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
}
