package retry

import (
	"strconv"
	"time"

	"google.golang.org/grpc/metadata"
)

// pushbackKey is the trailer by which a server says when to retry (gRFC A6).
const pushbackKey = "grpc-retry-pushback-ms"

// Pushback reads what the server says about retrying in the trailer of a failed
// attempt. ok is false if it says nothing. stop means that it wants no retry: the value
// is negative, or not one number that fits 32 bits. Else the retry comes after wait,
// whatever the policy says.
func Pushback(trailer metadata.MD) (wait time.Duration, stop, ok bool) {
	values := trailer.Get(pushbackKey)
	if len(values) == 0 {
		return 0, false, false
	}
	ms, err := strconv.ParseInt(values[0], 10, 32)
	if err != nil || ms < 0 || len(values) > 1 {
		return 0, true, true
	}
	return time.Duration(ms) * time.Millisecond, false, true
}
