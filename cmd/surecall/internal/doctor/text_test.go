package doctor

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSimilar(t *testing.T) {
	for _, test := range []struct {
		want  string
		names string
		likes string
	}{
		{"orders", "order-s payments consul", "order-s"},
		{"ordres", "orders payments", "orders"},
		{"order_service", "order-service users", "order-service"},
		{"orders", "orders-v2 borders users", "borders,orders-v2"},
		{"orders", "payments consul", ""},
		{"db", "dc dd redis", "dc,dd"},
		{"Orders.V2", "orders-v2", "orders-v2"},
		{"", "orders", ""},
		{"orders", "", ""},
		{"orders", strings.Repeat("orders", 30), ""},
	} {
		if got := strings.Join(similar(test.want, strings.Fields(test.names)), ","); got != test.likes {
			t.Errorf("similar(%q, %q) = %q: want %q", test.want, test.names, got, test.likes)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"orders", "orders", 0}, {"orders", "order", 1}, {"ordres", "orders", 1},
		{"orders", "oders", 1}, {"orders", "orxers", 1}, {"abc", "", 3}, {"größe", "große", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d: want %d", test.a, test.b, got, test.want)
		}
		if distance(test.a, test.b) != distance(test.b, test.a) {
			t.Errorf("distance(%q, %q) depends on the order", test.a, test.b)
		}
	}
}

func TestFit(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"plain", "plain"},
		{"two\nlines\tand a tab ", "two lines and a tab"},
		{"\x1b[31mred\x07", `\x1b[31mred\a`},
		{"\u202eabc", `\u202eabc`},
		{"\u0085x\u200b", `\u0085x\u200b`},
		{"größe 漢字", "größe 漢字"},
		{"a\xffb", "a\uFFFDb"},
		{strings.Repeat("x", 500), strings.Repeat("x", mostText) + "…"},
	} {
		if got := fit(test.text); got != test.want {
			t.Errorf("fit(%q) = %q: want %q", test.text, got, test.want)
		}
	}
}

// Whatever comes in, one bounded line that prints comes out.
func FuzzFit(f *testing.F) {
	for _, text := range []string{"", "\x1b]0;x\x07", "\u202e", "\xff\xfe", strings.Repeat("\x00", 1000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := fit(text)
		if strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError }) >= 0 {
			t.Errorf("fit(%q) = %q: want what prints", text, got)
		}
		if n := utf8.RuneCountInString(got); n > 12*mostText {
			t.Errorf("fit of %d bytes has %d characters", len(text), n)
		}
	})
}

func TestHide(t *testing.T) {
	var s secrets
	s.add("", " 5ec2e7\n", "other")
	if got := s.hide("a 5ec2e7 and an other"); got != "a *** and an ***" {
		t.Errorf("hide: %q", got)
	}
	w := walk{secrets: s}
	// Cut first, a part of the secret would be left.
	if got := w.short(strings.Repeat("x", 157) + "5ec2e7"); strings.Contains(got, "5ec") {
		t.Errorf("short: %q has a part of the secret", got)
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 faults": count(0, "fault"), "1 fault": count(1, "fault"), "2 faults": count(2, "fault"),
		"1 address": count(1, "address"), "2 addresses": count(2, "address"),
	} {
		if got != want {
			t.Errorf("count says %q: want %q", got, want)
		}
	}
}

// Whatever a step tells, it tells without secrets and fit for a terminal.
func TestTellIsTheOneWayOut(t *testing.T) {
	var told []Step
	w := walk{secrets: secrets{"5ec2e7"}, report: &Report{}, told: func(s Step) { told = append(told, s) }}
	w.ok("target", "a %s", "5ec2e7\x1b")
	w.fault("agent", "b 5ec2e7\x1b", "c 5ec2e7\x1b")
	w.warn("leader", "d 5ec2e7\x1b", "e 5ec2e7\x1b")
	for i, want := range []Step{
		{"target", OK, `a ***\x1b`, ""}, {"agent", Fault, `b ***\x1b`, `c ***\x1b`}, {"leader", Warn, `d ***\x1b`, `e ***\x1b`},
	} {
		if told[i] != want || w.report.Steps[i] != want {
			t.Errorf("told %+v, reported %+v: want %+v", told[i], w.report.Steps[i], want)
		}
	}
}

func TestSome(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e"}
	for n, want := range []string{"", "a", "a, b", "a, b, c", "a, b, c and 1 more", "a, b, c and 2 more"} {
		if got := some(all[:n]); got != want {
			t.Errorf("some of %d: %q, want %q", n, got, want)
		}
	}
	if !slices.Equal(all, []string{"a", "b", "c", "d", "e"}) {
		t.Error("some changes its list")
	}
}
