package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/surecall/surecall/event"
)

// verdict is a client in one line.
type verdict struct {
	look
	Text     string
	eligible int
}

// judge says what an operator wants to know first.
func judge(s *Status) verdict {
	v, wanted, troubled := verdict{}, 0, 0
	for n := range s.Instances {
		i := &s.Instances[n]
		if i.State != string(event.Standby) {
			wanted++
		}
		if i.Eligible {
			v.eligible++
		}
		if l := looks(i); l.Tone == "bad" || l.Tone == "warn" {
			troubled++
		}
	}
	v.Text = fmt.Sprintf("%s of %s eligible", count(v.eligible), count(wanted))
	switch open := s.ServiceBreaker != nil && s.ServiceBreaker.State != "closed" && !s.ServiceBreaker.DryRun; {
	case open:
		v.look, v.Text = look{Tone: "bad", Mark: "stop"}, "service breaker "+clean(s.ServiceBreaker.State, 20)
	case len(s.Instances) == 0 && !s.Source.Answered:
		v.look, v.Text = look{Tone: "idle", Mark: "dots"}, "no answer from the source yet"
	case len(s.Instances) == 0 && s.Source.Instances > 0 && !s.Source.Trusted: // it has let go of them
		v.look, v.Text = look{Tone: "idle", Mark: "ring"}, "idle or closed"
	case len(s.Instances) == 0:
		v.look, v.Text = look{Tone: "bad", Mark: "cross"}, "no instances known"
	case v.eligible == 0:
		v.look = look{Tone: "bad", Mark: "cross"}
	case troubled > 0 || s.Source.Answered && !s.Source.Trusted:
		v.look = look{Tone: "warn", Mark: "alert"}
	default:
		v.look = look{Tone: "ok", Mark: "full"}
	}
	return v
}

// top is the page's head.
type top struct {
	look
	ID, Title, At, Stamp, Text string
	Services                   []topService
}

type topService struct {
	look
	Key, Name, Text string
}

func topOf(all []Status, verdicts []verdict, now time.Time) top {
	t := top{ID: "top", At: clock(now), Stamp: stamp(now), look: look{Tone: "ok", Mark: "full"}}
	worse := map[string]int{"ok": 0, "idle": 1, "warn": 2, "bad": 3}
	troubled := 0
	for n, v := range verdicts {
		if worse[v.Tone] > worse[t.Tone] {
			t.look = v.look
		}
		if v.Tone == "warn" || v.Tone == "bad" {
			troubled++
		}
		t.Services = append(t.Services, topService{v.look, fmt.Sprintf("s%d", n), clean(all[n].Service, 60), v.Text})
	}
	switch {
	case len(all) == 0:
		t.look, t.Text = look{Tone: "idle", Mark: "ring"}, "no clients"
	case len(all) == 1:
		t.Text = verdicts[0].Text
	case troubled == 0:
		t.Text = fmt.Sprintf("all %s well", plural(len(all), "service"))
	default:
		t.Text = fmt.Sprintf("%d of %s need a look", troubled, plural(len(all), "service"))
		if troubled == 1 {
			t.Text = fmt.Sprintf("1 of %s needs a look", plural(len(all), "service"))
		}
	}
	t.Title = t.Text + " – surecall"
	if len(all) == 1 {
		t.Title = clean(all[0].Service, 60) + ": " + t.Title
	}
	return t
}

// head is what a section says above its tables.
type head struct {
	look
	ID, Name, Target, Text string
	Since, SinceStamp      string
	Shadow                 bool
	Disabled               []string
	Sources                []sourceLine
	InFlight, Streams      string
	Calls, Failed          uint64 // ended, and of them not with OK
	CallsText, FailedText  string
	Breaker                breakerCell
	Budget                 meter
	Limits                 []meter
	Notifications          string
	States                 []stateCount
	Known                  string
}

type sourceLine struct {
	look
	Name, Lists, Age, Trust, Why string
}

// meter is how much of something is used.
type meter struct {
	Name, Text, Tone, Note string
	Width                  int // of 100
}

// stateCount is one stretch of the bar of states.
type stateCount struct {
	look
	State    string
	Count    string
	X, Width int // of 1000

	n int
}

func headOf(key string, s *Status, v verdict) head {
	h := head{
		look: v.look, ID: key + "-head", Name: clean(s.Service, 100), Target: clean(s.Target, 200), Text: v.Text,
		Since: s.Since.UTC().Format(day), SinceStamp: stamp(s.Since), Shadow: s.Shadow,
		InFlight: count(s.InFlight), Streams: plural(s.Streams, "stream"), Breaker: breakerOf(s.ServiceBreaker),
		Known: plural(len(s.Instances), "instance"), States: statesOf(s.Instances),
		Budget: meterOf("Budget", s.Budget.Tokens, s.Budget.Capacity),
	}
	h.Budget.Text = fmt.Sprintf("%s of %s", number(s.Budget.Tokens), number(s.Budget.Capacity))
	if h.Budget.Tone = "ok"; s.Budget.Tokens < 1 {
		h.Budget.Tone, h.Budget.Note = "bad", "empty: no retries, no hedges"
	}
	for _, p := range s.Disabled {
		h.Disabled = append(h.Disabled, clean(p, 60))
	}
	for n := range s.Methods {
		for code, calls := range s.Methods[n].Calls {
			if h.Calls += calls; code != "OK" {
				h.Failed += calls
			}
		}
	}
	h.CallsText, h.FailedText = count(h.Calls), count(h.Failed)
	if len(s.Source.Datacenters) < 2 {
		h.Sources = []sourceLine{sourceOf(&s.Source, len(s.Instances))}
	} else {
		for n := range s.Source.Datacenters {
			h.Sources = append(h.Sources, sourceOf(&s.Source.Datacenters[n], 0))
		}
	}
	for n := range s.Limits {
		l := &s.Limits[n]
		m := meterOf(clean(l.Scope, 80), float64(l.InFlight), float64(l.Limit))
		m.Text = fmt.Sprintf("%s of %s", count(l.InFlight), count(l.Limit))
		if l.Waiting > 0 {
			m.Note = count(l.Waiting) + " wait"
		}
		if m.Tone = "ok"; l.Waiting > 0 || l.Limit > 0 && l.InFlight*5 >= l.Limit*4 {
			m.Tone = "warn"
		}
		h.Limits = append(h.Limits, m)
	}
	if n := s.Notifications; n != (Notifications{}) {
		h.Notifications = fmt.Sprintf("%s pending, %s sent, %s failed, %s dropped", count(n.Pending), count(n.Sent), count(n.Failed), count(n.Dropped))
	}
	return h
}

// sourceOf shows a source from which the client has so many instances.
func sourceOf(s *Source, known int) sourceLine {
	l := sourceLine{Name: clean(s.Datacenter, 60), Lists: "lists " + plural(s.Instances, "instance"), Why: clean(s.Why, 300), look: look{Tone: "ok", Mark: "full"}, Trust: "trusted"}
	if s.Absent > 0 {
		l.Lists += fmt.Sprintf(", %s absent serve on", count(s.Absent))
	}
	switch {
	case !s.Answered && s.FromDisk:
		l.look, l.Trust = look{Tone: "warn", Mark: "alert"}, "no answer yet: the last snapshot on disk serves"
	case !s.Answered && known > 0:
		l.look, l.Trust, l.Lists = look{Tone: "idle", Mark: "ring"}, "which tells no more", "a resolver of gRPC's own"
	case !s.Answered:
		l.look, l.Trust, l.Lists = look{Tone: "idle", Mark: "dots"}, "no answer yet", "lists nothing yet"
	case !s.Trusted:
		l.look, l.Trust = look{Tone: "warn", Mark: "alert"}, "not trusted"
	}
	if s.Answered {
		l.Age = "answered " + ago(s.Age)
	}
	return l
}

func meterOf(name string, part, whole float64) meter {
	return meter{Name: name, Width: int(fraction(part, whole)*100 + 0.5)}
}

// statesOf divides a bar among the states, the largest trouble first.
func statesOf(all []Instance) []stateCount {
	var states []stateCount
	for n := range all {
		name := clean(all[n].State, 20)
		at := slices.IndexFunc(states, func(s stateCount) bool { return s.State == name })
		if at < 0 && len(states) >= 20 {
			continue // there are ten
		}
		if at < 0 {
			states = append(states, stateCount{look: looks(&all[n]), State: name})
			at = len(states) - 1
		}
		states[at].n++
	}
	slices.SortFunc(states, func(a, b stateCount) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return strings.Compare(a.State, b.State)
	})
	x := 0
	for n := range states {
		s := &states[n]
		x += s.n
		s.Count = count(s.n)
		s.Width = x * 1000 / len(all)
	}
	for n := len(states) - 1; n >= 0; n-- {
		if n > 0 {
			states[n].X = states[n-1].Width
		}
		states[n].Width -= states[n].X
	}
	return states
}
