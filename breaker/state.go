package breaker

import "time"

// State is what an instance breaker does with attempts.
type State uint8

// The states.
const (
	StateClosed   State = iota // attempts pass
	StateOpen                  // the instance is ejected
	StateHalfOpen              // the instance is ejected, and one attempt is its trial
)

var stateNames = [...]string{"closed", "open", "half-open"}

// String returns the state in words.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// Change is one change of an instance breaker. From and To are both StateClosed when only
// Overruled changed.
type Change struct {
	From, To  State
	Overruled bool // after the change
	Why       string
	Until     time.Time // To is StateOpen: when the ejection ends
}

// Counts is an instance breaker at one moment, for display.
type Counts struct {
	State     State
	Overruled bool

	Requests  int // in the window
	Failures  int // of them
	Run       int // failures since the last success
	Ejections int // since the breaker was made, failed trials included

	// Of the ejection that stands; zero while closed. A failed trial moves the end,
	// not the beginning.
	EjectedSince, EjectedUntil time.Time
}

// A word is, from the lowest bit: the state (2 bits), overruled (1 bit), the epoch.
// Every change of state moves the epoch; overruled does not, since the attempts in
// flight go on counting.
const (
	stateMask    = 0b011
	overruledBit = 0b100
	epochShift   = 3
)

// Closed reports whether word, of [Instance.Word], is that of a closed breaker.
func Closed(word uint64) bool { return stateOf(word) == StateClosed }

func stateOf(word uint64) State { return State(word & stateMask) }

// nextWord is the word of a breaker that leaves word for state, not overruled.
func nextWord(word uint64, state State) uint64 {
	return (word>>epochShift+1)<<epochShift | uint64(state)
}
