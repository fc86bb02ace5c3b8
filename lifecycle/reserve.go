package lifecycle

import (
	"context"
	"errors"
	"time"
)

// Reserve returns a context for the calls that a handler makes, whose deadline is d
// earlier than the handler's own: what is left then is for its answer, with what it has
// or with the reason why it has nothing. If less than 2 d is left, half of that is
// reserved. Without a deadline there is nothing to reserve. The cancel function ends the
// context; call it when the calls have returned.
func Reserve(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || d <= 0 {
		return context.WithCancel(ctx)
	}
	reserve := max(0, min(d, time.Until(deadline)/2))
	return context.WithDeadlineCause(ctx, deadline.Add(-reserve), errReserved)
}

var errReserved = errors.New("lifecycle: what is left until the deadline is reserved for the answer")
