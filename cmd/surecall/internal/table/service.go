package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/surecall/surecall/status"
)

// head is what is said of a service above its instances, the most telling line first.
func head(s *status.Status) []line {
	lines := []line{title(s)}
	for _, l := range []line{deviations(s), source(s), calls(s)} {
		if len(l) > 1 {
			lines = append(lines, l)
		}
	}
	return lines
}

// title names the service, and counts its instances by state.
func title(s *status.Status) line {
	l := line{{s.Service, bold}, {"  " + s.Target + "  ", dim}}
	return append(l, states(s.Instances)...)
}

// states counts instances by state: "5 instances: 4 eligible, 1 failed".
func states(all []status.Instance) line {
	counts := map[string]int{}
	for i := range all {
		counts[all[i].State]++
	}
	l := text(of(len(all), "instance"))
	if len(all) == 0 {
		return line{{"no instance", red}}
	}
	before := ": "
	for _, state := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	}) {
		l = l.and(before, plain).and(fmt.Sprintf("%d %s", counts[state], state), lookOf(state).style)
		before = ", "
	}
	return l
}

// source is what the source last answered.
func source(s *status.Status) line {
	l := line{{"source  ", dim}}
	if len(s.Source.Datacenters) < 2 {
		return append(l, answer(&s.Source)...)
	}
	for n := range s.Source.Datacenters {
		dc := &s.Source.Datacenters[n]
		l = l.item(cmp.Or(dc.Datacenter, "its own")+": ", plain)
		l = append(l, answer(dc)...)
	}
	return l
}

func answer(a *status.Source) line {
	if !a.Answered && a.Why != "" {
		return line{{a.Why, yellow}}
	}
	if !a.Answered {
		return line{{"no answer yet", yellow}}
	}
	l := text(of(a.Instances, "instance"))
	if a.FromDisk {
		l = l.and(" from disk", yellow)
	}
	if a.Absent > 0 {
		l = l.and(fmt.Sprintf(" and %d absent", a.Absent), yellow)
	}
	l = l.and(", answered "+took(a.Age)+" ago, ", plain)
	if a.Trusted {
		return l.and("trusted", green)
	}
	l = l.and("not trusted", yellow)
	if a.Why != "" {
		l = l.and(": "+a.Why, yellow)
	}
	return l
}

// calls is what the client counted, if it made calls.
func calls(s *status.Status) line {
	var ended, attempts, hedges, won uint64
	failed, retries, denied := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	rejected, second := map[string]uint64{}, map[string]uint64{}
	for i := range s.Methods {
		m := &s.Methods[i]
		for code, n := range m.Calls {
			ended += n
			if code != "OK" {
				failed[code] += n
			}
		}
		attempts, hedges, won = attempts+m.Attempts, hedges+m.Hedges, won+m.HedgesWon
		add(retries, m.Retries)
		add(denied, m.Denied)
		add(rejected, m.Rejected)
		add(second, m.SecondBest)
	}
	l := line{{"calls   ", dim}}
	if ended+attempts == 0 && s.InFlight+s.Streams == 0 {
		return l
	}
	l = l.item(count(ended)+" ended", plain)
	l = l.tally("failed", failed, red)
	l = l.tally("retried", retries, plain)
	l = l.tally("retries denied", denied, yellow)
	l = l.tally("rejected", rejected, red)
	if hedges > 0 {
		l = l.item(fmt.Sprintf("%s hedged, %s of them won", count(hedges), count(won)), plain)
	}
	l = l.tally("answered by second best", second, yellow)
	l = l.item(fmt.Sprintf("%d in flight", s.InFlight), plain)
	if s.Streams > 0 {
		l = l.item(of(s.Streams, "stream"), plain)
	}
	if s.Budget.Capacity > 0 {
		l = l.item("budget "+amount(s.Budget.Tokens)+" of "+amount(s.Budget.Capacity), plain)
	}
	for _, limit := range s.Limits {
		l = l.limit(limit)
	}
	if n := s.Notifications; n.Pending > 0 || n.Failed+n.Dropped > 0 {
		l = l.item(fmt.Sprintf("notifications: %d pending, %s failed, %s dropped", n.Pending, count(n.Failed), count(n.Dropped)), plain)
	}
	return l
}

func add(to, counts map[string]uint64) {
	for key, n := range counts {
		to[key] += n
	}
}

// tally appends how many there were, and of which kind the most, if there were any.
func (l line) tally(what string, counts map[string]uint64, s style) line {
	var sum uint64
	for _, n := range counts {
		sum += n
	}
	if sum == 0 {
		return l
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	named := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		if counts[kind] > 0 {
			named = append(named, count(counts[kind])+" "+kind)
		}
	}
	if len(named) == 1 {
		return l.item(fmt.Sprintf("%s %s (%s)", count(sum), what, kinds[0]), s)
	}
	more := ""
	if len(named) > 3 {
		named, more = named[:3], ", …"
	}
	return l.item(fmt.Sprintf("%s %s (%s%s)", count(sum), what, strings.Join(named, ", "), more), s)
}

func (l line) limit(of status.Limit) line {
	text, look := fmt.Sprintf("limit of %s %d/%d", of.Scope, of.InFlight, of.Limit), plain
	if of.Waiting > 0 {
		text, look = text+fmt.Sprintf(", %d wait", of.Waiting), yellow
	}
	return l.item(text, look)
}

// deviations are what is not as usual: switched off, by hand, by document, or open.
func deviations(s *status.Status) line {
	l := line{{"note    ", dim}}
	if s.Shadow {
		l = l.item("shadow mode: nothing is acted on", yellow)
	}
	if len(s.Disabled) > 0 {
		l = l.item("switched off: "+strings.Join(s.Disabled, ", "), yellow)
	}
	if open(s.ServiceBreaker) {
		l = l.item("service breaker is "+s.ServiceBreaker.State+dry(s.ServiceBreaker), red)
	}
	if s.ServiceBreaker != nil && s.ServiceBreaker.Mode != "" {
		l = l.item("service breaker by hand: "+s.ServiceBreaker.Mode, yellow)
	}
	for i := range s.Methods {
		if m := &s.Methods[i]; open(m.Breaker) {
			l = l.item("breaker of "+m.Name+" is "+m.Breaker.State+dry(m.Breaker), red)
		}
	}
	for _, p := range s.Policies {
		switch {
		case p.Refused != "":
			l = l.item(fmt.Sprintf("policy of %s refused: %s", p.Layer, p.Refused), yellow)
		case p.From != "":
			l = l.item(fmt.Sprintf("policy of %s from %s", p.Layer, p.From), plain)
		}
	}
	return l
}

func dry(b *status.Breaker) string {
	if b.DryRun {
		return " (runs dry)"
	}
	return ""
}
