package status

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// none stands for what there is no value of.
const none = "–"

// clean makes s fit to be shown: valid, at most most runes long, and without what cannot
// be seen or turns the text around it. What it takes out leaves a mark.
func clean(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		if r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// seconds shows a duration with two or three digits.
func seconds(s float64) string {
	switch {
	case math.IsNaN(s), s < 0:
		return none
	case s == 0:
		return "0"
	case s < 0.000995:
		return digits(s*1e6) + " µs"
	case s < 0.995:
		return digits(s*1e3) + " ms"
	case s < 99.5:
		return digits(s) + " s"
	case s < 100*60:
		return digits(s/60) + " min"
	case s < 100*3600:
		return digits(s/3600) + " h"
	case s < 10_000*86400:
		return digits(s/86400) + " days"
	}
	return "years"
}

// digits shows one decimal of what is less than 10, and none of what is more.
func digits(f float64) string {
	if f < 9.95 {
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// measured shows a duration that is 0 until it was measured.
func measured(s float64) string {
	if s == 0 {
		return none
	}
	return seconds(s)
}

// ago shows an age, and changes no more often than a reader wants to know.
func ago(s float64) string {
	switch {
	case math.IsNaN(s):
		return "at an unknown time"
	case s < 1:
		return "just now"
	case s < 100:
		return strconv.Itoa(int(s)) + " s ago"
	}
	return seconds(s) + " ago"
}

// count shows a whole number, its thousands apart.
func count[N int | uint64](n N) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// percent shows a share.
func percent(f float64) string {
	switch {
	case math.IsNaN(f):
		return none
	case f > 0 && f < 0.01:
		return "<1 %"
	case f < 1 && f > 0.99:
		return "99 %" // not all
	}
	return strconv.FormatFloat(math.Round(max(0, min(f, 99))*100), 'f', 0, 64) + " %"
}

// number shows one that need not be whole.
func number(f float64) string {
	switch {
	case math.IsNaN(f):
		return none
	case f > 1e9:
		return "no bound"
	}
	return count(int(max(-1e9, f)))
}

// day is how a moment is shown that need not be today.
const day = "2 Jan 15:04"

// clock shows a moment, in UTC as logs have it.
func clock(t time.Time) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format("15:04:05")
}

// past shows a moment as seen on the day of now: one of another day has its date.
func past(t, now time.Time) string {
	if t.IsZero() || dayOf(t) == dayOf(now) {
		return clock(t)
	}
	return t.UTC().Format("2 Jan 15:04:05")
}

// dayOf is the day of a moment, in UTC too.
func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// stamp is a moment for programs to read.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// fraction is a part of whole within 0 to 1.
func fraction(part, whole float64) float64 {
	if f := part / whole; f > 0 {
		return min(1, f)
	}
	return 0
}
