package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/surecall/surecall/status"
)

// timeline is the events of all services, the newest first, at most limit.
func timeline(all []status.Status, limit int) []line {
	type told struct {
		service string
		status.Event
	}
	var events []told
	for n := range all {
		for _, e := range all[n].Events[:min(limit, len(all[n].Events))] {
			events = append(events, told{all[n].Service, e})
		}
	}
	slices.SortStableFunc(events, func(a, b told) int { return b.At.Compare(a.At) })
	var lines []line
	for _, e := range events[:min(limit, len(events))] {
		l := line{{clock(e.At) + "  ", dim}, {fmt.Sprintf("%-5.8s  ", e.Level), levels(e.Level)}}
		if len(all) > 1 {
			l = l.and(e.service+": ", dim)
		}
		if e.Instance != "" {
			l = l.and(e.Instance+" ", bold)
		}
		lines = append(lines, l.and(e.Text, plain))
	}
	return lines
}

func levels(level string) style {
	switch level {
	case "ERROR":
		return red
	case "WARN":
		return yellow
	case "INFO":
		return plain
	}
	return dim
}

// badCalls are those of all services, the newest first, at most limit.
func badCalls(all []status.Status, limit int) []line {
	var calls []*status.BadCall
	for n := range all {
		s := &all[n]
		for i := range s.BadCalls[:min(limit, len(s.BadCalls))] {
			calls = append(calls, &s.BadCalls[i])
		}
	}
	slices.SortStableFunc(calls, func(a, b *status.BadCall) int { return b.At.Compare(a.At) })
	var lines []line
	for _, c := range calls[:min(limit, len(calls))] {
		lines = append(lines, badCall(c))
	}
	return lines
}

func badCall(c *status.BadCall) line {
	look := red
	if c.Code == "OK" {
		look = yellow
	}
	l := line{{clock(c.At) + "  ", dim}, {c.Code, look}, {"  " + c.Method + " in " + took(c.Took), plain}}
	var attempts []string
	for _, a := range c.Attempts {
		at := a.Instance
		if at == "" {
			at = "nobody"
		}
		attempts = append(attempts, fmt.Sprintf("%s %s after %s", at, a.Verdict, took(a.Took)))
	}
	if len(attempts) > 0 {
		l = l.and(": "+strings.Join(attempts, ", "), plain)
	}
	if c.Denied != "" {
		l = l.and("; not repeated: "+c.Denied, plain)
	}
	if c.Error != "" {
		l = l.and("; "+c.Error, dim)
	}
	if len(c.Advice) > 0 {
		l = l.and("; advice: "+strings.Join(c.Advice, "; "), cyan)
	}
	return l
}
