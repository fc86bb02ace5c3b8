package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/event"
)

// A server decides how long its errors are: one of megabytes costs no more than one of a few
// kilobytes, and no secret shows where it is cut.
func TestMaskOfHugeTexts(t *testing.T) {
	huge := strings.Repeat("x@y token=abc ", 1<<20)
	began := time.Now()
	masked := event.Mask(huge)
	if took := time.Since(began); took > time.Second { // all of it takes several
		t.Errorf("took %v", took)
	}
	if len(masked) > 510 || strings.Contains(masked, "abc") {
		t.Errorf("%q: want some 500 bytes without a secret", masked)
	}
	for n := 4000; n < 4200; n++ {
		long := "token=" + strings.Repeat("s", n) + " http://someone:hidden@host/ and more"
		if got := event.Mask(long); strings.Contains(got, "hidden") || strings.Contains(got, "ss") || strings.Contains(got, "hid") {
			t.Fatalf("after %d bytes: %q", n, got)
		}
	}
}
