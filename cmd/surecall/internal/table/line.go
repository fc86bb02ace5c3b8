package table

import "strings"

// style is how a span looks. Nothing is told by it alone.
type style string

// The styles, as terminals number them.
const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// span is a part of a line, as it came: it is cleaned when the line is written.
type span struct {
	text  string
	style style
}

// line is one line, before it is cut to a width.
type line []span

func text(t string) line { return line{{text: t}} }

// and appends a span to what is there.
func (l line) and(text string, s style) line { return append(l, span{text, s}) }

// item appends a span, after a mark that parts it from the one before.
func (l line) item(text string, s style) line {
	if len(l) > 1 { // the first span is the line's name
		l = l.and(" · ", dim)
	}
	return l.and(text, s)
}

// write returns l cut to the width of o.
func (l line) write(o Options) string {
	limit := o.columns()
	if l.width(limit+1, o.ASCII) > limit {
		limit-- // for the mark
	}
	var b strings.Builder
	used := 0
	for _, s := range l {
		short, width, cut := clean(s.text, limit-used, o.ASCII)
		used += width
		if cut && limit < o.columns() {
			short += ellipsis(o.ASCII)
		}
		b.WriteString(s.style.paint(short, o.Color))
		if cut {
			break
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// width is how many columns l needs, at most limit.
func (l line) width(limit int, ascii bool) int {
	used := 0
	for _, s := range l {
		_, width, cut := clean(s.text, limit-used, ascii)
		if used += width; cut {
			return limit
		}
	}
	return used
}

func (s style) paint(text string, color bool) string {
	if !color || s == plain || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
