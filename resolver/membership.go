package resolver

import (
	"errors"
	"time"

	"github.com/surecall/surecall/discovery"
)

// membership decides who is in the set, from one snapshot to the next. It is a plain
// state machine: the time is an argument, and its caller keeps calls apart.
type membership struct {
	loss   Loss
	listed map[string]discovery.Instance // by ID: what the source last listed
	absent map[string]absentee           // by ID: missing, but not believed to be gone
	held   bool                          // the source has no answer that it vouches for
}

type absentee struct {
	discovery.Instance
	until time.Time // zero: until the source vouches for an answer again
}

func newMembership(l Loss) membership {
	return membership{loss: l, listed: map[string]discovery.Instance{}, absent: map[string]absentee{}}
}

// errLargeLoss is the doubt about a snapshot that the source itself does not doubt.
var errLargeLoss = errors.New("more than half of the instances vanished in one snapshot")

// apply takes a snapshot with an answer. It returns why the answer is not believed in
// full, or nil.
func (m *membership) apply(s discovery.Snapshot, now time.Time) error {
	listed := make(map[string]discovery.Instance, len(s.Instances))
	for _, i := range s.Instances {
		listed[i.ID] = i
		delete(m.absent, i.ID)
	}
	known, missing := len(m.listed), []discovery.Instance(nil)
	for id, i := range m.listed {
		if _, still := listed[id]; !still {
			missing = append(missing, i)
		}
	}
	m.held = s.Doubt != nil
	if !m.held {
		// Whoever vanished while the source was doubted is judged now.
		for id, a := range m.absent {
			if a.until.IsZero() {
				known, missing = known+1, append(missing, a.Instance)
				delete(m.absent, id)
			}
		}
	}
	switch {
	case m.held:
		for _, i := range missing {
			m.absent[i.ID] = absentee{Instance: i}
		}
	case m.loss.doubts(known, len(missing)):
		for _, i := range missing {
			m.absent[i.ID] = absentee{i, now.Add(m.loss.duration())}
		}
	}
	m.listed = listed
	if m.held {
		return s.Doubt
	}
	return m.doubt()
}

// doubt is the doubt about the last answer that the source does not doubt itself.
func (m *membership) doubt() error {
	if len(m.absent) == 0 {
		return nil
	}
	return errLargeLoss
}

// hold keeps everybody for as long as the source has no answer.
func (m *membership) hold() { m.held = true }

// expire drops those who have been absent for too long. It returns when the next one
// will have been, or the zero time. Nobody's time runs out while the source has no
// answer that it vouches for.
func (m *membership) expire(now time.Time) (next time.Time) {
	if m.held {
		return time.Time{}
	}
	for id, a := range m.absent {
		switch {
		case !now.Before(a.until):
			delete(m.absent, id)
		case next.IsZero() || a.until.Before(next):
			next = a.until
		}
	}
	return next
}

func (m *membership) size() int { return len(m.listed) + len(m.absent) }
