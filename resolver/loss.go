package resolver

import (
	"fmt"
	"time"
)

// Loss says what to do when a snapshot lacks more than half of the instances that were
// known, or the only one: the likelier cause then is a registry that lost its data, a
// token that lost its rights, or a partition, and not that many processes ending in
// the same instant.
//
// The zero value doubts such a loss: the missing instances whose connection lives go on
// serving, as absent, until they are listed again, their connection ends, or 5 minutes
// have passed. Smaller losses are always believed at once.
type Loss struct {
	hold    time.Duration
	believe bool
}

// DefaultHold is how long a doubted instance may go on serving.
const DefaultHold = 5 * time.Minute

// ApplyAtOnce believes every loss.
func ApplyAtOnce() Loss { return Loss{believe: true} }

// Hold doubts a large loss for d instead of 5 minutes.
func Hold(d time.Duration) Loss { return Loss{hold: d} }

// Validate reports what is wrong with l.
func (l Loss) Validate() error {
	if l.hold < 0 {
		return fmt.Errorf("resolver: Hold %v: want 0 (means %v) or more", l.hold, DefaultHold)
	}
	return nil
}

func (l Loss) duration() time.Duration {
	if l.hold == 0 {
		return DefaultHold
	}
	return l.hold
}

// doubts reports whether the loss of missing out of known instances is doubted.
func (l Loss) doubts(known, missing int) bool {
	return !l.believe && missing > 0 && (2*missing > known || known == 1)
}
