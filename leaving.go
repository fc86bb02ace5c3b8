package surecall

import (
	"context"

	"github.com/surecall/surecall/balancer"
)

// Leaving returns a channel that is closed when the instance that serves a stream begins
// to leave: it says so, its health service does, the source no longer lists it, or its
// connection is closing. The stream goes on, for as long as the server lets it; one that
// lives long should be opened again, on another instance, and then closed here.
//
// ctx is the stream's own: stream.Context(), asked for once the stream's header or first
// message is there: until then it may yet be opened on another instance. For any other
// context, and for a stream that is over, Leaving returns nil, which is never closed.
func Leaving(ctx context.Context) <-chan struct{} {
	a := balancer.AttemptFrom(ctx)
	if a == nil {
		return nil
	}
	return a.Leaving()
}
