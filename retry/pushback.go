package retry

import (
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// pushbackKey is the trailer by which a server says when to retry (gRFC A6).
const pushbackKey = "grpc-retry-pushback-ms"

// Pushback reads what the server says about retrying: in the trailer of a failed attempt,
// grpc-retry-pushback-ms, else in the google.rpc.RetryInfo among the details of its error.
// ok is false if it says nothing. stop means that it wants no retry: the trailer's value
// is negative, or not one number that fits 32 bits. Else the retry comes after wait,
// whatever the policy says.
func Pushback(trailer metadata.MD, err error) (wait time.Duration, stop, ok bool) {
	values := trailer.Get(pushbackKey)
	if len(values) == 0 {
		wait, ok = retryInfo(err)
		return wait, false, ok
	}
	ms, parseErr := strconv.ParseInt(values[0], 10, 32)
	if parseErr != nil || ms < 0 || len(values) > 1 {
		return 0, true, true
	}
	return time.Duration(ms) * time.Millisecond, false, true
}

// retryInfo looks at the details only if there are any: decoding them costs.
func retryInfo(err error) (time.Duration, bool) {
	s, ok := status.FromError(err)
	if !ok || len(s.Proto().GetDetails()) == 0 {
		return 0, false
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().CheckValid() == nil {
			return max(0, info.GetRetryDelay().AsDuration()), true
		}
	}
	return 0, false
}
