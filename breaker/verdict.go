package breaker

import (
	"time"

	"google.golang.org/grpc/codes"
)

// Verdict is what the end of an attempt means for its instance.
type Verdict uint8

// The verdicts.
const (
	Ignored      Verdict = iota // says nothing about the instance
	Success                     // the instance did its work, whatever it answered
	Failure                     // counts to the run of failures and to the ratio
	RatioFailure                // counts to the ratio only: one bad request can cause it
)

var verdictNames = [...]string{"ignored", "success", "failure", "ratio failure"}

// String returns the verdict in words.
func (v Verdict) String() string {
	if int(v) >= len(verdictNames) {
		return "unknown"
	}
	return verdictNames[v]
}

// Outcome is how an attempt ended, as its caller saw it.
type Outcome struct {
	Code codes.Code // of the error the interceptor saw

	NeverExecuted bool // no handler can have run it
	Canceled      bool // ended by the caller or by us
	TimedOut      bool // its own attempt timeout ran out
	Pushback      bool // the server said when to come again

	Elapsed time.Duration
	P99     time.Duration // of its method; 0: not learned yet
}

// Classifier turns the end of an attempt into a verdict. It is called once per
// attempt, concurrently.
type Classifier func(Outcome) Verdict

// Classify is the default [Classifier]. The first line that fits decides:
//
//	never executed, cancelled   Ignored
//	attempt timeout             Failure
//	UNAVAILABLE with a pushback Ignored: it has too much to do, and is there to say so
//	UNAVAILABLE                 Failure: a lost connection is that too
//	DEADLINE_EXCEEDED           Failure if it ran for at least the method's p99, else
//	                            Ignored: the caller's deadline was shorter than the
//	                            method takes
//	INTERNAL, DATA_LOSS         RatioFailure
//	RESOURCE_EXHAUSTED          Ignored: a loaded instance is given less, not ejected;
//	                            gRPC's own, for a message too large, says nothing of it
//	all others                  Success
//
// UNKNOWN is a success because in Go it is every plain error of a handler; CANCELED
// that neither side of ours asked for is a handler's answer too.
func Classify(o Outcome) Verdict {
	switch {
	case o.NeverExecuted, o.Canceled:
		return Ignored
	case o.TimedOut:
		return Failure
	}
	switch o.Code {
	case codes.Unavailable:
		if o.Pushback {
			return Ignored
		}
		return Failure
	case codes.DeadlineExceeded:
		if o.P99 > 0 && o.Elapsed >= o.P99 {
			return Failure
		}
		return Ignored
	case codes.Internal, codes.DataLoss:
		return RatioFailure
	case codes.ResourceExhausted:
		return Ignored
	default:
		return Success
	}
}
