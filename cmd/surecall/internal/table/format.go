package table

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// none stands where there is no value.
const none = "-"

// took writes seconds in three digits and a unit.
func took(seconds float64) string {
	if math.IsNaN(seconds) || seconds <= -1 {
		return none // two clocks may differ a little, and that is nothing
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}, {1e-3, "ms"}, {1e-6, "us"}} {
		if seconds < unit.size {
			continue
		}
		n := seconds / unit.size
		switch {
		case n >= 99999:
			return ">99999" + unit.name
		case n < 9.95 && unit.size <= 1:
			return strconv.FormatFloat(n, 'f', 1, 64) + unit.name
		}
		return strconv.FormatFloat(n, 'f', 0, 64) + unit.name
	}
	return "0s"
}

// percent writes a share of 1.
func percent(share float64) string {
	if math.IsNaN(share) || share < 0 || share > 99 {
		return none
	}
	return strconv.Itoa(int(share*100+0.5)) + "%"
}

// amount writes a number that is whole, or nearly.
func amount(n float64) string {
	if math.IsNaN(n) || math.Abs(n) > 1e15 {
		return none
	}
	return strconv.FormatFloat(math.Floor(n), 'f', 0, 64)
}

// count writes a number with its thousands apart.
func count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// of writes "1 instance" or "3 instances".
func of(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }
