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
	stored map[string]discovery.Instance // by ID: from disk, until the source vouches for an answer
	held   bool                          // the source has no answer that it vouches for
}

type absentee struct {
	discovery.Instance
	until time.Time // zero: until the source vouches for an answer again
}

func newMembership(l Loss) membership {
	return membership{
		loss:   l,
		listed: map[string]discovery.Instance{},
		absent: map[string]absentee{},
		stored: map[string]discovery.Instance{},
	}
}

// errLargeLoss is the doubt about a snapshot that the source itself does not doubt.
var errLargeLoss = errors.New("more than half of the instances vanished in one snapshot")

// restore takes the set of an earlier life, which is all there is.
func (m *membership) restore(set []discovery.Instance) {
	for _, i := range set {
		if _, listed := m.listed[i.ID]; !listed {
			m.stored[i.ID] = i
		}
	}
}

// apply takes a snapshot with an answer. It returns why the answer is not believed in
// full, or nil.
func (m *membership) apply(s discovery.Snapshot, now time.Time) error {
	listed := make(map[string]discovery.Instance, len(s.Instances))
	for _, i := range s.Instances {
		listed[i.ID] = i
		delete(m.absent, i.ID)
		delete(m.stored, i.ID)
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
		stored := m.unstore(len(listed) == 0)
		known, missing = known+len(stored), append(missing, stored...)
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

// unstore ends the use of what is from disk, at the first answer that the source vouches
// for. An answer with somebody in it is believed as it is, however many of the stored it
// lacks: for those only a file speaks, they may have been replaced by a deployment hours
// ago, and by now their addresses may be another service's. An empty answer, though, is
// what a registry says that came back without its data, which is when processes start
// from disk. That is the loss of all of them, and it is doubted like one: unstore returns
// those who are missing.
func (m *membership) unstore(empty bool) (missing []discovery.Instance) {
	if empty {
		for _, i := range m.stored {
			missing = append(missing, i)
		}
	}
	clear(m.stored)
	return missing
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

func (m *membership) size() int { return len(m.listed) + len(m.absent) + len(m.stored) }
