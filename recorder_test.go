package surecall

import (
	"strconv"
	"strings"
	"testing"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// The timeline has the newest events, the newest first, and nothing about single calls.
func TestTimeline(t *testing.T) {
	var r recorder
	const all = 2*RecordedEvents + 7
	for n := range all {
		r.note(event.ConfigWarning{What: strconv.Itoa(n)})
		r.note(event.AttemptRetried{})
		r.note(event.CallRejected{})
	}
	var s status.Status
	r.read(&s)
	if len(s.Events) != RecordedEvents {
		t.Fatalf("%d events: want %d", len(s.Events), RecordedEvents)
	}
	for n, e := range s.Events {
		if want := "what " + strconv.Itoa(all-1-n) + ")"; !strings.Contains(e.Text, want) {
			t.Fatalf("event %d: %q: want %q in it", n, e.Text, want)
		}
	}
}
