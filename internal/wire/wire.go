// Package wire holds what clients and servers of surecall tell each other in gRPC
// metadata, beside the call itself. Whoever does not know a key passes over it.
package wire

import "strconv"

// Keys of a request's metadata, written by clients.
const (
	// AttemptID names one attempt. It is sent only to instances that registered with
	// discovery.MetaLifecycle, whose servers return it in the marks below: a server
	// further down the chain, or a proxy, cannot know it.
	AttemptID = "surecall-attempt-id"
	// Attempt is the attempt's number within its call, sent when an attempt before it may
	// have been executed: calls that its handler makes are not retried on top of it.
	Attempt = "surecall-attempt"
	// CallID is the same in all attempts of a call, sent where the method's policy says so:
	// a server that keeps what it answered can tell a repeat from a new call.
	CallID = "surecall-call-id"
	// Priority is how much the call matters while there is not room for all: the name of a
	// limit.Priority. Absent: normal.
	Priority = "surecall-priority"
	// Replay marks a request that a server replays to warm itself up.
	Replay = "surecall-replay"
)

// Keys of a response's trailer, written by the outermost interceptor of package
// lifecycle and by nothing else. Each carries the attempt's own ID.
const (
	// Unexecuted says that the server refused the attempt before executing any of it.
	Unexecuted = "surecall-unexecuted"
	// Draining says that the server is about to leave: no new calls. Its value is "1" if
	// the request carried no ID; a client believes only its own.
	Draining = "surecall-draining"
	// Repeated says that the answer was given to the call before, or that nobody knows what
	// became of it: it is about the call and not about the instance that sends it.
	Repeated = "surecall-repeated"
)

// ParseAttempt returns the number that a request has under Attempt, as it was sent: the
// last of them, since a proxy that copies metadata may have left one of its own before it.
// What is no number of 1 to 255 is none.
func ParseAttempt(values []string) (number string, ok bool) {
	if len(values) == 0 {
		return "", false
	}
	number = values[len(values)-1]
	n, err := strconv.ParseUint(number, 10, 8)
	return number, err == nil && n > 0
}
