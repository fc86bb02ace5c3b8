package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/surecall/surecall/cmd/surecall/internal/table"
	"github.com/surecall/surecall/status"
)

// screen is where views are shown.
type screen interface {
	show(v view, now time.Time) error
	// signals are what handle is to be called with: nil if there are none.
	signals() <-chan os.Signal
	handle(os.Signal) error
	close() // any number of times
}

// newScreen returns the one that fits stdout.
func newScreen(o *viewing, stdout, stderr io.Writer) screen {
	terminal, options := onTerminal(stdout)
	switch {
	case o.json:
		return &paper{stderr: stderr, write: writeJSON(stdout)}
	case terminal != nil:
		return newLiveScreen(terminal, options)
	}
	return &paper{stderr: stderr, write: func(v view, now time.Time) error {
		_, err := fmt.Fprintln(stdout, v.draw(options, now))
		return err
	}}
}

// onTerminal returns stdout if it is a terminal that understands more than text, and how
// to draw on it.
func onTerminal(stdout io.Writer) (*os.File, table.Options) {
	o := table.Options{ASCII: !unicodeLocale()}
	file, ok := stdout.(*os.File)
	if !ok {
		return nil, o
	}
	width, height, ok := sizeOf(file)
	if !ok {
		o.Width, _ = strconv.Atoi(os.Getenv("COLUMNS"))
		return nil, o
	}
	o.Width, o.Height = width, height
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		o.Height = 0
		return nil, o
	}
	o.Color = os.Getenv("NO_COLOR") == ""
	return file, o
}

// unicodeLocale reports whether the environment does not say that text is something else
// than UTF-8.
func unicodeLocale() bool {
	locale := strings.ToUpper(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"), "UTF-8"))
	return strings.Contains(locale, "UTF-8") || strings.Contains(locale, "UTF8")
}

// paper is for what cannot be drawn over: a file, a pipe, a program. A view is written when
// it says something else than the last.
type paper struct {
	write  func(view, time.Time) error
	stderr io.Writer
	last   string
	lost   string
}

func (p *paper) show(v view, now time.Time) error {
	if v.lost != nil {
		if p.lost != v.lost.Error() {
			p.lost = v.lost.Error()
			fail(p.stderr, 0, v.lost)
		}
		return nil
	}
	p.lost = ""
	gist := gistOf(v)
	if gist == p.last {
		return nil
	}
	p.last = gist
	return p.write(v, now)
}

func (p *paper) signals() <-chan os.Signal { return nil }
func (p *paper) handle(os.Signal) error    { return nil }
func (p *paper) close()                    {}

// gistOf is the same for views that differ in nothing but numbers that always change.
func gistOf(v view) string {
	var b strings.Builder
	for n := range v.all {
		s := &v.all[n]
		fmt.Fprintf(&b, "%q %q %v %q %+v %s\n", s.Service, s.Target, s.Shadow, s.Disabled, s.Policies, breakerGist(s.ServiceBreaker))
		for _, a := range append(s.Source.Datacenters, s.Source) {
			fmt.Fprintf(&b, "%q %d %d %v %v %v %q\n", a.Datacenter, a.Instances, a.Absent, a.Answered, a.Trusted, a.FromDisk, a.Why)
		}
		for i := range s.Instances {
			i := &s.Instances[i]
			fmt.Fprintf(&b, "%q %q %q %d %q %q %q %s\n", i.ID, i.Address, i.Incarnation, i.Weight, i.State, i.Why, i.Mode, breakerGist(i.Breaker))
		}
		for i := range s.Methods {
			fmt.Fprintf(&b, "%s\n", breakerGist(s.Methods[i].Breaker))
		}
		for _, e := range s.Events[:min(1, len(s.Events))] {
			fmt.Fprintf(&b, "%v %q\n", e.At.UnixNano(), e.Text)
		}
		for _, c := range s.BadCalls[:min(1, len(s.BadCalls))] {
			fmt.Fprintf(&b, "%v %q\n", c.At.UnixNano(), c.Method)
		}
	}
	return b.String()
}

func breakerGist(b *status.Breaker) string {
	if b == nil {
		return "off"
	}
	return fmt.Sprintf("%q %q %v", b.State, b.Mode, b.DryRun)
}

// document is the JSON of both commands, which is that of the status page.
type document struct {
	Clients []status.Status `json:"clients"`
}

// writeJSON returns what writes a view as one line of JSON.
func writeJSON(w io.Writer) func(view, time.Time) error {
	return func(v view, _ time.Time) error {
		content, err := json.Marshal(document{v.all})
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, table.JSON(content)+"\n")
		return err
	}
}
