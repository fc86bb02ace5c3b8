package table

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/surecall/surecall/status"
)

func TestClean(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string
		limit, width     int
		ascii, cut       bool
	}{
		{name: "plain", text: "orders-1", limit: 8, want: "orders-1", width: 8},
		{name: "cut", text: "orders-1", limit: 7, want: "orders-", width: 7, cut: true},
		{name: "no room", text: "a", limit: 0, cut: true},
		{name: "escape sequence", text: "\x1b[2Jx", limit: 99, want: `\x1b[2Jx`, width: 8},
		{name: "C1 introducer", text: "\u009b2J", limit: 99, want: `\u009b2J`, width: 8},
		{name: "not UTF-8", text: "a\xff\x9b", limit: 99, want: `a\xff\x9b`, width: 9},
		{name: "the replacement character itself", text: "\uFFFD", limit: 99, want: "\uFFFD", width: 1},
		{name: "lines are one", text: "a\r\nb\tc", limit: 99, want: "a  b c", width: 6},
		{name: "bell, delete, null", text: "\a\x7f\x00", limit: 99, want: `\a\x7f\x00`, width: 10},
		{name: "right to left override", text: "\u202eabc", limit: 99, want: `\u202eabc`, width: 9},
		{name: "right to left script", text: "אב", limit: 99, want: `\u05d0\u05d1`, width: 12},
		{name: "nothing to see", text: "a\u200b\ufeff\u00ad\u2060", limit: 99, want: `a\u200b\ufeff\u00ad\u2060`, width: 25},
		{name: "an escape is not cut in half", text: "ab\x1b", limit: 5, want: "ab", width: 2, cut: true},
		{name: "wide", text: "注文", limit: 4, want: "注文", width: 4},
		{name: "wide, cut", text: "注文", limit: 3, want: "注", width: 2, cut: true},
		{name: "picture", text: "🚀", limit: 9, want: "🚀", width: 2},
		{name: "marks", text: "e\u0301", limit: 9, want: "e\u0301", width: 1},
		{name: "too many marks", text: "e\u0301\u0301\u0301", limit: 9, want: "e\u0301\u0301" + `\u0301`, width: 7},
		{name: "a mark on nothing", text: "\u0301", limit: 9, want: `\u0301`, width: 6},
		{name: "a symbol made a picture", text: "☀\ufe0f", limit: 9, want: `☀\ufe0f`, width: 7},
		{name: "spaces of all kinds", text: "a\u00a0\u3000b", limit: 9, want: "a  b", width: 4},
		{name: "private", text: "\ue000", limit: 9, want: `\ue000`, width: 6},
		{name: "ASCII", text: "é…·\u00a0", limit: 99, ascii: true, want: `\u00e9~|\u00a0`, width: 14},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, width, cut := clean(tc.text, tc.limit, tc.ascii)
			if got != tc.want || width != tc.width || cut != tc.cut {
				t.Errorf("%q, %d wide, cut %v: want %q, %d, %v", got, width, cut, tc.want, tc.width, tc.cut)
			}
		})
	}
}

// colour is all that a line may tell a terminal beyond text.
var colour = regexp.MustCompile(`\x1b\[(0|1|2|31|32|33|36)m`)

// checkHarmless fails if what was drawn could do more than be read, or is too large.
func checkHarmless(t *testing.T, drawn string, o Options) {
	t.Helper()
	if !strings.HasSuffix(drawn, "\n") {
		t.Errorf("%q does not end its last line", drawn)
	}
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	if o.Height > 0 && len(lines) > o.Height {
		t.Errorf("%d lines: want at most %d", len(lines), o.Height)
	}
	for _, l := range lines {
		if !utf8.ValidString(l) {
			t.Errorf("%q is not UTF-8", l)
		}
		if o.Color {
			if strings.Count(l, "\x1b[0m")*2 != len(colour.FindAllString(l, -1)) {
				t.Errorf("%q leaves a colour on", l)
			}
			l = colour.ReplaceAllString(l, "")
		}
		width := 0
		for _, r := range l {
			if !unicode.IsPrint(r) || turns(r) || o.ASCII && r > '~' {
				t.Errorf("%q has %U", l, r)
			}
			_, columns := show(r, string(r), o.ASCII, 0)
			width += columns
		}
		if o.Width > 0 && width > o.Width {
			t.Errorf("%q is %d columns wide: want at most %d", l, width, o.Width)
		}
	}
}

// hostile has text, and numbers from it, wherever a Status can have them.
func hostile(text string, n int) status.Status {
	odd := math.Float64frombits(uint64(n) * 0x9e3779b97f4a7c15)
	s := status.Status{
		Service: text, Target: text, Disabled: []string{text},
		Source: status.Source{Instances: n, Absent: n, Age: odd, Answered: n%2 == 0, Why: text, Datacenters: []status.Source{{Datacenter: text}, {Why: text}}},
		Methods: []status.Method{{
			Name: text, Calls: map[string]uint64{text: 1}, Retries: map[string]uint64{text: 1, "x": 2}, Hedges: 1,
			Breaker: &status.Breaker{State: text},
		}},
		ServiceBreaker: &status.Breaker{State: text, Mode: text},
		Budget:         status.Budget{Tokens: odd, Capacity: odd},
		Limits:         []status.Limit{{Scope: text, Waiting: n}},
		Policies:       []status.Policy{{Layer: text, Refused: text}, {Layer: text, From: text}},
		Notifications:  status.Notifications{Pending: n, Failed: 1},
		Events:         []status.Event{{Level: text, Text: text}, {Level: "WARN", Text: text}},
		BadCalls: []status.BadCall{{
			Method: text, Code: text, Took: odd, Error: text, Denied: text, Advice: []string{text},
			Attempts: []status.Attempt{{Instance: text, Verdict: text, Took: odd}, {}},
		}},
	}
	for range n % 40 {
		s.Instances = append(s.Instances, status.Instance{
			ID: text, Address: text, Region: text, Zone: text, Priority: n, Weight: n, State: text, Why: text, Mode: text,
			Latency: odd, SlowStart: odd, Share: odd, Rest: odd, Breaker: &status.Breaker{State: text, Failures: n},
		}, status.Instance{ID: "orders", State: "eligible", Eligible: true})
	}
	return s
}

func TestAFileIsGivenNoEscapesEither(t *testing.T) {
	for _, text := range []string{"\x1b]0;owned\a", "\u009b31m", "\u202e\u2066", "\xff\xfe", "a\nb", strings.Repeat("x", 1<<16), ""} {
		o := Options{}
		checkHarmless(t, Render([]status.Status{hostile(text, 7)}, o), o)
		checkHarmless(t, List([]status.Status{hostile(text, 7)}, o), o)
	}
}

func FuzzRenderIsHarmless(f *testing.F) {
	f.Add("\x1b[2J\u202e注\u0301\xff", 80, 24, 7, true, false)
	f.Add("", 1, 1, 0, false, true)
	f.Add("orders", 33, 9, 39, true, true)
	f.Fuzz(func(t *testing.T, text string, width, height, n int, color, ascii bool) {
		o := Options{Width: max(1, width%300), Height: max(1, height%100), Color: color, ASCII: ascii, Note: text}
		if n = n % 50; n < 0 {
			n = -n
		}
		all := []status.Status{hostile(text, n), fleet(n, n/2), hostile(text, 1)}
		checkHarmless(t, Render(all, o), o)
		o.Height = 0
		checkHarmless(t, List(all, o), o)
	})
}
