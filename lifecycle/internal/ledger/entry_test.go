package ledger

import (
	"testing"
	"time"

	"github.com/surecall/surecall/lifecycle/once"
)

var asked = Request{1, 2, 3}

// What is written is read back, and of anything else nothing is believed.
func FuzzParse(f *testing.F) {
	f.Add(runningValue(asked, 2*time.Second, 7, "me"))
	f.Add(freeValue())
	f.Add(settledValue(asked, []byte("done")))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := parse(value)
		if err != nil {
			return
		}
		switch e.state {
		case running:
			if e.lease <= 0 || e.lease > once.MaxLease {
				t.Errorf("lease %v", e.lease)
			}
		case free:
		case settled:
			if string(settledValue(e.request, e.outcome)) != string(value) {
				t.Errorf("%q is not what was read", value)
			}
		default:
			t.Errorf("state %q", e.state)
		}
	})
}

func TestParse(t *testing.T) {
	if e, err := parse(runningValue(asked, 2*time.Second, 300, "me")); err != nil || e.state != running || e.lease != 2*time.Second || e.owner != "me" || e.request != asked {
		t.Errorf("%+v, %v", e, err)
	}
	r := "\x01r" + string(asked[:])
	for _, value := range []string{
		"", "\x01", "\x02f", "\x01x", "\x01r", "\x01s", "\x01s" + string(asked[1:]),
		r, r + "\x00\x00me", r + "\x05", r + "\xff\xff\xff\xff\x0f\x00me",
	} {
		if e, err := parse([]byte(value)); err == nil {
			t.Errorf("%q is %+v", value, e)
		}
	}
}
