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
}

type absentee struct {
	discovery.Instance
	until time.Time
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
	var missing []discovery.Instance
	for id, i := range m.listed {
		if _, still := listed[id]; !still {
			missing = append(missing, i)
		}
	}
	doubt := s.Doubt
	if doubt == nil && m.loss.doubts(len(m.listed), len(missing)) {
		doubt = errLargeLoss
	}
	until := now.Add(m.loss.duration())
	if doubt != nil {
		for _, i := range missing {
			m.absent[i.ID] = absentee{i, until}
		}
	}
	if s.Doubt != nil {
		// The source does not vouch for this answer: those who were absent before it are
		// held as long as it says so.
		for id, a := range m.absent {
			m.absent[id] = absentee{a.Instance, until}
		}
	}
	m.listed = listed
	return doubt
}

// expire drops those who have been absent for too long. It returns when the next one
// will have been, or the zero time.
func (m *membership) expire(now time.Time) (next time.Time) {
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
