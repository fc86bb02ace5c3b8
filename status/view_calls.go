package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// methodRow is one line of the table of methods.
type methodRow struct {
	ID, Name, Idempotent               string
	Details                            [8]string // what there is to say of its counts
	Deadline, Calls, Failed            string
	Attempts, Retries, Denied, Refused string
	P50, P95, P99                      string
	Breaker                            breakerCell
}

func methodsOf(s *Status) []methodRow {
	rows := make([]methodRow, 0, min(len(s.Methods), methodsShown))
	for n := range s.Methods[:min(len(s.Methods), methodsShown)] {
		m := &s.Methods[n]
		row := methodRow{
			Name: clean(short(m), 120), Idempotent: "not idempotent", Deadline: none, Breaker: breakerOf(m.Breaker),
			Attempts: count(m.Attempts), P50: measured(m.P50), P95: measured(m.P95), P99: measured(m.P99),
			Retries: nonzero(total(m.Retries)), Denied: nonzero(total(m.Denied)), Refused: nonzero(total(m.Rejected)),
		}
		if m.Idempotent {
			row.Idempotent = "idempotent"
		}
		if m.Deadline > 0 {
			row.Deadline = seconds(m.Deadline)
		}
		failed := map[string]uint64{}
		for code, calls := range m.Calls {
			if code != "OK" {
				failed[code] = calls
			}
		}
		row.Calls, row.Failed = count(total(m.Calls)), nonzero(total(failed))
		details := []string{
			said("failed: ", listed(failed)), said("retried after: ", listed(m.Retries)),
			said("retry denied: ", listed(m.Denied)), said("rejected: ", listed(m.Rejected)),
			said("second best: ", listed(m.SecondBest)),
		}
		if m.Hedges > 0 {
			details = append(details, fmt.Sprintf("%s hedges, %s won", count(m.Hedges), count(m.HedgesWon)))
		}
		if m.Waits > 0 {
			details = append(details, fmt.Sprintf("%s waits, %s in all", count(m.Waits), seconds(m.Waited)))
		}
		copy(row.Details[:], slices.DeleteFunc(details, func(s string) bool { return s == "" }))
		rows = append(rows, row)
	}
	return rows
}

// rest says how many methods are not in the table.
type rest struct{ ID, Hidden string }

func restOf(key string, s *Status) rest {
	r := rest{ID: key + "-rest"}
	if hidden := len(s.Methods) - methodsShown; hidden > 0 {
		r.Hidden = plural(hidden, "more method")
	}
	return r
}

func total(of map[string]uint64) (n uint64) {
	for _, v := range of {
		n += v
	}
	return n
}

// listed says how many there are of each, at most ten of them.
func listed(of map[string]uint64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if len(words) == 10 {
			words = append(words, "…")
			break
		}
		if of[name] > 0 {
			words = append(words, count(of[name])+" "+clean(name, 60))
		}
	}
	return strings.Join(words, ", ")
}

func said(before, what string) string {
	if what == "" {
		return ""
	}
	return before + what
}

func nonzero(n uint64) string {
	if n == 0 {
		return none
	}
	return count(n)
}

// badCall is one of the recent bad calls.
type badCall struct {
	look
	ID, At, Stamp, Method, Code, Took, Waited, Error, Denied string
	Mended                                                   bool
	Attempts                                                 []badAttempt
	More                                                     int // attempts that are not shown
	Advice                                                   []string
}

type badAttempt struct {
	Number                                              int
	Instance, Address, Began, Queued, Took, Error, What string
	OK                                                  bool
}

func badOf(id string, b *BadCall, now time.Time) badCall {
	c := badCall{
		ID: id, At: past(b.At, now), Stamp: stamp(b.At), Method: clean(strings.TrimPrefix(b.Method, "/"), 120), Code: clean(b.Code, 40),
		Took: seconds(b.Took), Error: clean(b.Error, 600), Denied: clean(b.Denied, 60), look: look{Tone: "bad", Mark: "cross"},
	}
	if b.Code == "OK" {
		c.look, c.Mended = look{Tone: "ok", Mark: "full"}, true
	}
	if b.Waited > 0 {
		c.Waited = seconds(b.Waited)
	}
	const most = 20
	for n := range b.Attempts[:min(len(b.Attempts), most)] {
		a := &b.Attempts[n]
		shown := badAttempt{
			Number: a.Number, Instance: clean(a.Instance, 80), Address: clean(a.Address, 80), Began: seconds(a.Began),
			Took: seconds(a.Took), Error: clean(a.Error, 300), OK: a.Verdict == "success",
		}
		if a.Queued > 0 {
			shown.Queued = seconds(a.Queued)
		}
		what := []string{clean(a.Verdict, 20)}
		if a.Hedge {
			what = append(what, "hedge")
		}
		if a.CutOff {
			what = append(what, "cut off")
		}
		if !a.Executed {
			what = append(what, "never executed")
		}
		shown.What = joined(", ", what...)
		c.Attempts = append(c.Attempts, shown)
	}
	c.More = len(b.Attempts) - len(c.Attempts)
	for _, advice := range b.Advice[:min(len(b.Advice), most)] {
		c.Advice = append(c.Advice, clean(advice, 300))
	}
	return c
}

// eventLine is one line of the timeline.
type eventLine struct {
	look
	ID, At, Stamp, Kind, Level, Instance, Text string
}

func eventOf(id string, e *Event, now time.Time) eventLine {
	l := eventLine{
		ID: id, At: past(e.At, now), Stamp: stamp(e.At), Level: clean(e.Level, 10), Instance: clean(e.Instance, 80), Text: clean(e.Text, 600),
		Kind: clean(strings.ReplaceAll(e.Kind, "_", " "), 40), look: look{Tone: "idle", Mark: "full"},
	}
	switch e.Level {
	case "WARN":
		l.look = look{Tone: "warn", Mark: "alert"}
	case "ERROR":
		l.look = look{Tone: "bad", Mark: "cross"}
	}
	return l
}

// policies are the layers, in the order in which they win.
type policies struct {
	ID     string
	Layers []policyLayer
}

type policyLayer struct {
	look
	Rank                                        int
	Layer, From, Since, Stamp, Refused, Nothing string
	Sets                                        []string
	More                                        int
}

func policiesOf(key string, s *Status) policies {
	p := policies{ID: key + "-policies"}
	for _, layer := range slices.Backward(s.Policies) {
		l := policyLayer{
			Rank: len(p.Layers) + 1, Layer: clean(layer.Layer, 40), From: clean(layer.From, 200), Refused: clean(layer.Refused, 600),
			look: look{Tone: "ok", Mark: "full"},
		}
		if l.Refused != "" {
			l.look = look{Tone: "warn", Mark: "alert"}
		}
		if !layer.Since.IsZero() {
			l.Since, l.Stamp = layer.Since.UTC().Format(day), stamp(layer.Since)
		}
		if l.Nothing = "says nothing"; layer.Layer == "code" {
			l.Nothing = "the defaults"
		}
		const most = 30
		for _, what := range layer.Sets[:min(len(layer.Sets), most)] {
			l.Sets = append(l.Sets, clean(what, 100))
		}
		l.More = len(layer.Sets) - len(l.Sets)
		if p.Layers = append(p.Layers, l); len(p.Layers) == 20 {
			break
		}
	}
	return p
}
