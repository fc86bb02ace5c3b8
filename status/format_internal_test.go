package status

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{seconds(0), "0"}, {seconds(0.0000004), "0.4 µs"}, {seconds(0.00034), "340 µs"}, {seconds(0.0009949), "995 µs"}, {seconds(0.00099501), "1.0 ms"},
		{seconds(0.0123), "12 ms"}, {seconds(0.9949), "995 ms"}, {seconds(0.99501), "1.0 s"}, {seconds(99), "99 s"}, {seconds(100), "1.7 min"},
		{seconds(7200), "2.0 h"}, {seconds(1e6), "12 days"}, {seconds(1e12), "years"}, {seconds(math.Inf(1)), "years"}, {seconds(math.NaN()), none}, {seconds(-1), none},
		{measured(0), none}, {measured(1), "1.0 s"},
		{ago(0.99), "just now"}, {ago(1), "1 s ago"}, {ago(99.9), "99 s ago"}, {ago(100), "1.7 min ago"}, {ago(math.NaN()), "at an unknown time"},
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(-1000), "-1,000"}, {count(-999), "-999"}, {count(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{percent(0), "0 %"}, {percent(0.001), "<1 %"}, {percent(0.43), "43 %"}, {percent(0.999), "99 %"}, {percent(1), "100 %"}, {percent(math.NaN()), none}, {percent(math.Inf(-1)), "0 %"},
		{number(41.9), "41"}, {number(math.Inf(1)), "no bound"}, {number(math.NaN()), none}, {number(math.Inf(-1)), "-1,000,000,000"},
		{clean("a\x00b\u202ec\u2028d\xffé x", 100), "a\ufffdb\ufffdc\ufffdd\ufffdé x"}, {clean("abcdef", 3), "abc…"}, {clean("abc", 3), "abc"},
		{plural(1, "call"), "1 call"}, {plural(0, "call"), "0 calls"},
	} {
		if c.got != c.want {
			t.Errorf("%q: want %q", c.got, c.want)
		}
	}
}

func TestNatural(t *testing.T) {
	sorted := []string{"", "a", "a-1", "a-02", "a-9", "a-10", "a-10b", "a-99999999999999999999999", "b", "é"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got, want := natural(a, b), i-j; got*want < 0 || (got == 0) != (want == 0) {
				t.Errorf("natural(%q, %q) is %d", a, b, got)
			}
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x00\xff", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		c := clean(s, most)
		if !utf8.ValidString(c) || strings.ContainsFunc(c, func(r rune) bool { return r < ' ' || r == '\u202e' }) || utf8.RuneCountInString(c) > max(0, most)+1 {
			t.Errorf("clean(%q, %d) is %q", s, most, c)
		}
	})
}
