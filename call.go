package surecall

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unaryCall is one call with all its attempts. It is one allocation, the first attempt
// included; most calls need no other.
type unaryCall struct {
	tries
	rpc   rpc
	first unaryAttempt
}

// rpc is what gRPC wants back to make an attempt.
type rpc struct {
	req, reply any
	conn       *grpc.ClientConn
	invoker    grpc.UnaryInvoker
	opts       []grpc.CallOption
}

// run makes attempts until one ends the call.
func (u *unaryCall) run(a *unaryAttempt, now time.Time) error {
	var before error // of the attempt before
	for {
		err := u.try(a, now)
		if before != nil && isRejection(err) {
			return before // something was sent: a rejection would deny that
		}
		now = time.Now()
		u.judge(a, err, now)
		if err == nil {
			return nil
		}
		wait, again := u.next(&a.attempt, err, a.cutShort, now)
		if !again {
			return u.final(a, err)
		}
		if err := pause(u.ctx, wait); err != nil {
			return u.final(a, err)
		}
		before = err
		next := &unaryAttempt{}
		next.attempt.Prior = &a.attempt
		next.attempt.Rotate, next.attempt.WaitForReady = a.attempt.Rotate, a.attempt.WaitForReady
		a, now = next, time.Now()
	}
}

// final is the error that the caller gets. A server's passes through untouched.
func (u *unaryCall) final(a *unaryAttempt, err error) error {
	return u.named(u.core.named(u.ctx, u.method.name, &a.attempt, err), u.method.deadline)
}

// deadlineError says whose deadline it was. It keeps the code of err.
func deadlineError(err error, what string) error {
	s := status.FromContextError(err)
	if code := status.Code(err); code != codes.Unknown {
		s = status.New(code, status.Convert(err).Message())
	}
	return status.Errorf(s.Code(), "surecall: %s %s", s.Message(), what)
}
