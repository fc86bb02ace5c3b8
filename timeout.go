package surecall

import (
	"errors"
	"fmt"
	"time"
)

// AttemptTimeout bounds an attempt of an idempotent method. It is learned: Multiple
// times the method's 99th percentile of the last 20 s, within Min and half of what is
// left of the call's deadline; Initial until 20 answers are known. Its zero value is the
// default.
//
// An attempt is cut only if another follows: if attempts, deadline and budget allow
// one. Else it goes on for as long as the call may, or until its instance is found to
// hang and another can be paid for.
type AttemptTimeout struct {
	Multiple float64       // default 4 (measured: below 3 healthy tails are cut, above 6 hangs show)
	Min      time.Duration // default 100 ms
	Initial  time.Duration // default 200 ms
	Fixed    time.Duration // if set, the timeout; nothing is learned
}

// The defaults of [AttemptTimeout].
const (
	DefaultAttemptMultiple = 4
	DefaultAttemptMin      = 100 * time.Millisecond
	DefaultAttemptInitial  = 200 * time.Millisecond
	// learnedFrom is how many answers make a percentile worth its name.
	learnedFrom = 20

	// How long an attempt may wait, with nothing received from its instance, before that
	// one is suspected: as long as an attempt may take, but at least minPatience; and
	// unlearnedPatience while the method's latency is not known.
	minPatience       = 50 * time.Millisecond
	unlearnedPatience = time.Second
)

// Validate reports everything that is wrong with t, joined.
func (t AttemptTimeout) Validate() error {
	var errs []error
	if t.Multiple != 0 && !(t.Multiple >= 1) {
		errs = append(errs, fmt.Errorf("surecall: AttemptTimeout.Multiple %v: want 0 (means %v) or at least 1", t.Multiple, DefaultAttemptMultiple))
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"Min", t.Min}, {"Initial", t.Initial}, {"Fixed", t.Fixed}} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("surecall: AttemptTimeout.%s %v: want 0 (the default) or more", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}

func (t AttemptTimeout) withDefaults() AttemptTimeout {
	if t.Multiple == 0 {
		t.Multiple = DefaultAttemptMultiple
	}
	if t.Min == 0 {
		t.Min = DefaultAttemptMin
	}
	if t.Initial == 0 {
		t.Initial = DefaultAttemptInitial
	}
	return t
}

// of returns the timeout of an attempt that has left to live, and whether it was
// learned.
func (t *AttemptTimeout) of(s *methodStats, left time.Duration) (timeout time.Duration, learned bool) {
	switch {
	case t.Fixed > 0:
		timeout, learned = t.Fixed, true
	case s.latency.Samples() >= learnedFrom:
		timeout, learned = max(t.Min, time.Duration(t.Multiple*float64(s.latency.P99()))), true
	default:
		timeout = t.Initial
	}
	if timeout > left/2 {
		return left / 2, false // shorter than what was learned: it says nothing of the instance
	}
	return timeout, learned
}
