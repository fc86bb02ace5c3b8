package memory

import (
	"time"

	"github.com/surecall/surecall/discovery"
)

// vitals is what heart-beats and their absence make of one leased instance. It is pure:
// each method is told the time.
type vitals struct {
	ttl   time.Duration // a heart-beat is believed this long
	after time.Duration // critical for this long means forgotten

	reported discovery.Health // by the last heart-beat
	note     string
	beaten   time.Time // of the last heart-beat, or of the registration
	critical time.Time // since when it has been reported critical; zero if it is not
}

// beat takes in a heart-beat.
func (v *vitals) beat(now time.Time, h discovery.Health, note string) {
	critical := time.Time{}
	if h == discovery.Critical {
		critical = now
		if was, since, _ := v.at(now); was == discovery.Critical {
			critical = since
		}
	}
	v.reported, v.note, v.beaten, v.critical = h, note, now, critical
}

// at returns the health at a moment, since when it has been critical (if it is), and
// when the answer may next change without a heart-beat.
func (v *vitals) at(now time.Time) (h discovery.Health, since, next time.Time) {
	expiry := v.beaten.Add(v.ttl)
	switch {
	case v.reported == discovery.Critical:
		since = v.critical
	case now.Before(expiry):
		return v.reported, time.Time{}, expiry
	default:
		since = expiry
	}
	return discovery.Critical, since, since.Add(v.after)
}

// forgotten reports whether it has been critical for too long.
func (v *vitals) forgotten(now time.Time) bool {
	h, _, end := v.at(now)
	return h == discovery.Critical && !now.Before(end)
}

// why says in a few words what the health comes from.
func (v *vitals) why(now time.Time) string {
	if h, _, _ := v.at(now); h == discovery.Critical && v.reported != discovery.Critical {
		return "TTL expired"
	}
	return v.note
}
