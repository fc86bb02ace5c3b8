package breaker

import "time"

// State is what a breaker does.
type State uint8

// The states.
const (
	StateClosed   State = iota // all pass
	StateOpen                  // an instance is ejected; calls of a method or a service are rejected
	StateHalfOpen              // as open, but for one that passes: it is the trial
)

var stateNames = [...]string{"closed", "open", "half-open"}

// String returns the state in words.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// Mode is who decides: a breaker itself, or whoever set its mode by hand. A mode set by
// hand stays until another one is set, and is stronger than a dry run.
type Mode uint8

// The modes. SetMode takes any other value for Automatic.
const (
	Automatic  Mode = iota // the breaker decides
	ForcedOpen             // open, with no trials
	Disabled               // closed; nothing is counted
)

var modeNames = [...]string{"automatic", "forced open", "disabled"}

// String returns the mode in words.
func (m Mode) String() string {
	if int(m) >= len(modeNames) {
		return "unknown"
	}
	return modeNames[m]
}

// byHand is why a breaker changed when its mode was set.
func (m Mode) byHand() string {
	if m == Automatic {
		return "set to automatic by hand"
	}
	return m.String() + " by hand"
}

// Change is one change of a breaker. From and To are the same when only Overruled or
// Mode changed. The breaker of a service is never half-open.
type Change struct {
	From, To  State
	Overruled bool   // after the change; of instances only
	Mode      Mode   // after the change
	DryRun    bool   // it is only what would have changed
	Why       string // in words, with the figures that decided it

	// To is StateOpen: when that ends. Zero if it was opened by hand, and for services.
	Until time.Time
}

// Counts is an instance breaker at one moment, for display. In a dry run State,
// Overruled and all that follows from them are what they would be.
type Counts struct {
	State     State
	Overruled bool
	Mode      Mode
	DryRun    bool // as the policy says

	Requests  int // in the window
	Failures  int // of them
	Run       int // failures since the last success
	Ejections int // since the breaker was made, failed trials included, those by hand not

	// Of the ejection that stands; zero while closed. A failed trial moves the end,
	// not the beginning. One by hand has no end.
	EjectedSince, EjectedUntil time.Time
}

// A word is, from the lowest bit: the state (2 bits), overruled (1 bit), the mode (2
// bits), dry (1 bit), the epoch, from 1. Every change of state or mode moves the epoch;
// overruled does not, since the attempts in flight go on counting. Dry says that the
// state is only what it would be: so it is set in no mode but Automatic.
const (
	stateMask    = 0b000011
	overruledBit = 0b000100
	modeMask     = 0b011000
	modeShift    = 3
	dryBit       = 0b100000
	epochShift   = 6
)

// Closed reports whether word, of [Instance.Word], is that of a breaker which lets
// attempts pass: one that is closed or runs dry.
func Closed(word uint64) bool { return word&stateMask == uint64(StateClosed) || word&dryBit != 0 }

// Decided returns the state that word, of [Instance.Word], was decided to be: in a dry
// run that is the one it would be in.
func Decided(word uint64) State { return State(word & stateMask) }

// acted is the state that shows.
func acted(word uint64) State {
	if Closed(word) {
		return StateClosed
	}
	return Decided(word)
}

func modeOf(word uint64) Mode { return Mode(word & modeMask >> modeShift) }

// sameEpoch reports whether no change lies between two words of one breaker.
func sameEpoch(a, b uint64) bool { return a>>epochShift == b>>epochShift }

// nextWord is the word of a breaker that leaves word for state, not overruled.
func nextWord(word uint64, state State, mode Mode, dryRun bool) uint64 {
	next := (word>>epochShift+1)<<epochShift | uint64(mode)<<modeShift | uint64(state)
	if dryRun && mode == Automatic {
		next |= dryBit
	}
	return next
}
