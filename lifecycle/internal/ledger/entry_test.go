package ledger

import (
	"testing"
	"time"
)

// What is written is read back, and of anything else nothing is believed.
func FuzzParse(f *testing.F) {
	f.Add(runningValue(2*time.Second, 7, "me"))
	f.Add(freeValue())
	f.Add(settledValue([]byte("done")))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := parse(value)
		if err != nil {
			return
		}
		switch e.state {
		case running:
			if e.lease <= 0 || e.lease > maxLease {
				t.Errorf("lease %v", e.lease)
			}
		case free:
		case settled:
			if string(settledValue(e.outcome)) != string(value) {
				t.Errorf("%q is not what was read", value)
			}
		default:
			t.Errorf("state %q", e.state)
		}
	})
}

func TestParse(t *testing.T) {
	if e, err := parse(runningValue(2*time.Second, 300, "me")); err != nil || e.state != running || e.lease != 2*time.Second || e.owner != "me" {
		t.Errorf("%+v, %v", e, err)
	}
	for _, value := range []string{"", "\x01", "\x02f", "\x01x", "\x01r", "\x01r\x00\x00me", "\x01r\x05", "\x01r\xff\xff\xff\xff\x0f\x00me"} {
		if e, err := parse([]byte(value)); err == nil {
			t.Errorf("%q is %+v", value, e)
		}
	}
}
