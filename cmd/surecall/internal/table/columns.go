package table

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/surecall/surecall/status"
)

// gap is what parts two columns.
const gap = 2

// leastWhy is how wide the last column has to be, or other columns make room for it.
const leastWhy = 30

// column is one of the table's.
type column struct {
	title string
	right bool
	limit int // of its width
	drop  int // of those that find no room the highest goes first; 0: stays
	value func(s *status.Status, i *status.Instance) string
	width int
}

// columnsOf are those that have something to say of one of the instances. WHY comes last,
// and is as wide as there is room.
func columnsOf(s *status.Status, rows []*status.Instance, o Options) []column {
	all := []column{
		{title: "STATE", limit: 16, value: func(_ *status.Status, i *status.Instance) string { return lookOf(i.State).named(o.ASCII) }},
		{title: "INSTANCE", limit: 40, value: func(_ *status.Status, i *status.Instance) string { return i.ID }},
		{title: "ADDRESS", limit: 40, drop: 2, value: func(_ *status.Status, i *status.Instance) string { return i.Address }},
		{title: "REGION", limit: 16, drop: 9, value: func(_ *status.Status, i *status.Instance) string { return i.Region }},
		{title: "ZONE", limit: 16, drop: 6, value: func(_ *status.Status, i *status.Instance) string { return i.Zone }},
		{title: "PRIO", right: true, limit: 6, drop: 7, value: func(_ *status.Status, i *status.Instance) string { return unless(i.Priority, 0) }},
		{title: "WEIGHT", right: true, limit: 8, drop: 5, value: func(_ *status.Status, i *status.Instance) string { return strconv.Itoa(i.Weight) }},
		{title: "SHARE", right: true, limit: 6, drop: 4, value: portion},
		{title: "IN FLIGHT", right: true, limit: 12, drop: 1, value: inFlight},
		{title: "STREAMS", right: true, limit: 12, drop: 8, value: streams},
		{title: "LATENCY", right: true, limit: 8, drop: 3, value: latency},
		{title: "BREAKER", limit: 20, drop: 7, value: breaker},
		{title: "WHY", limit: maxText, value: why},
	}
	return slices.DeleteFunc(all, func(c column) bool {
		return !slices.ContainsFunc(rows, func(i *status.Instance) bool { return c.value(s, i) != "" })
	})
}

func unless(n, usual int) string {
	if n == usual {
		return ""
	}
	return strconv.Itoa(n)
}

func within(n, limit int) string {
	if limit == 0 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d/%d", n, limit)
}

// portion is what the instance gets of its weight.
func portion(_ *status.Status, i *status.Instance) string {
	if !i.Eligible {
		return ""
	}
	return percent(i.SlowStart * i.Share)
}

func inFlight(s *status.Status, i *status.Instance) string {
	if !calling(s) {
		return ""
	}
	return within(i.InFlight, i.Limit)
}

func latency(s *status.Status, i *status.Instance) string {
	if !calling(s) {
		return "" // no call has measured it
	}
	return took(i.Latency)
}

// calling reports whether the client makes calls, and has not only looked.
func calling(s *status.Status) bool { return len(s.Methods) > 0 || s.InFlight+s.Streams > 0 }

func streams(_ *status.Status, i *status.Instance) string {
	if i.Streams == 0 {
		return ""
	}
	return within(i.Streams, i.StreamLimit)
}

// breaker is its state, and how many of the calls in its window failed.
func breaker(_ *status.Status, i *status.Instance) string {
	b := i.Breaker
	if b == nil {
		return ""
	}
	if b.Failures == 0 {
		return b.State
	}
	return fmt.Sprintf("%s %d/%d", b.State, b.Failures, b.Requests)
}

// why is what there is to know of the instance beyond its state.
func why(_ *status.Status, i *status.Instance) string {
	var parts []string
	add := func(is bool, text string) {
		if is {
			parts = append(parts, text)
		}
	}
	add(i.Why != "", bare(i.Why))
	add(i.Mode != "", "by hand: "+i.Mode)
	if b := i.Breaker; open(b) && b.DryRun {
		add(true, "its breaker runs dry: it would be "+b.State)
	}
	add(i.Rest > 0, "asked for a rest of "+took(i.Rest))
	add(i.Rest <= 0 && i.Share < 1, "had too much to do")
	add(i.SlowStart < 1 && i.Eligible, "slow start")
	return strings.Join(parts, "; ")
}

// bare takes off what gRPC wraps around the error of a connection: the end of the text
// tells most, and is cut off first.
func bare(text string) string {
	_, inner, ok := strings.Cut(text, `desc = "transport: `)
	if !ok {
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(inner, "Error while dialing: "), `"`)
}

// fitted gives the columns their widths, and drops those that find no room.
func fitted(columns []column, s *status.Status, rows []*status.Instance, o Options) []column {
	for n := range columns {
		c := &columns[n]
		_, c.width, _ = clean(c.title, c.limit, o.ASCII)
		for _, i := range rows {
			_, width, cut := clean(c.value(s, i), c.limit, o.ASCII)
			if cut {
				width = c.limit
			}
			c.width = max(c.width, width)
		}
	}
	for {
		need := -gap
		for _, c := range columns {
			need += gap + c.width
			if c.title == "WHY" {
				need -= max(0, c.width-leastWhy)
			}
		}
		least := slices.MaxFunc(columns, func(a, b column) int { return a.drop - b.drop })
		if need <= o.columns() || least.drop == 0 {
			return columns
		}
		columns = slices.DeleteFunc(columns, func(c column) bool { return c.title == least.title })
	}
}

// grid draws the rows, below a line of titles.
func grid(s *status.Status, rows []*status.Instance, o Options) []line {
	columns := fitted(columnsOf(s, rows, o), s, rows, o)
	titles := line{}
	for n, c := range columns {
		titles = titles.and(c.pad(c.title, n == len(columns)-1, o), dim)
	}
	lines := []line{titles}
	for _, i := range rows {
		row := line{}
		for n, c := range columns {
			look := plain
			if n == 0 {
				look = lookOf(i.State).style
			}
			row = row.and(c.pad(c.value(s, i), n == len(columns)-1, o), look)
		}
		lines = append(lines, row)
	}
	return lines
}

// pad returns a value as wide as its column, and the gap after it; the last one is as wide
// as it is.
func (c column) pad(value string, last bool, o Options) string {
	if value == "" && c.right {
		value = none
	}
	if last && !c.right {
		return value
	}
	short, width := shorten(value, c.width, o.ASCII)
	fill := strings.Repeat(" ", max(0, c.width-width))
	if c.right {
		short = fill + short
	} else {
		short += fill
	}
	if last {
		return short
	}
	return short + strings.Repeat(" ", gap)
}
