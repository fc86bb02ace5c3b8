package surecall

import (
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/event"
)

// unaryCall is one call with all its attempts. It is one allocation, the first attempt
// included; most calls need no other.
type unaryCall struct {
	tries
	rpc   rpc
	kept  proto.Message // a reply that the policy hoped to better
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
func (u *unaryCall) run(now time.Time) error {
	a := &u.first
	var prior *unaryAttempt // the attempt before, which ended with before
	var before error
	for {
		u.begin(a, now)
		last, err := u.attempt(a, now)
		if prior != nil && isRejection(err) {
			return u.end(prior, before) // something was sent: a rejection would deny that
		}
		if prior != nil && a.attempt.Instance() != nil {
			u.method.count.retry(prior.reason(before))
		}
		if a = last; a.cutShort && a.hung {
			u.hangs++
		}
		if err == nil {
			if u.wants(u.rpc.reply) {
				return nil
			}
			u.keep()
			err = errUnwanted
		}
		now = time.Now()
		wait, again := u.next(&a.attempt, err, a.cutShort, a.cutShort && a.paid, now)
		if !again {
			return u.end(a, err)
		}
		if err := pause(u.ctx, wait); err != nil {
			return u.end(a, err)
		}
		prior, before = a, err
		next := &unaryAttempt{}
		next.attempt.Prior, next.attempt.Rotate = &a.attempt, a.attempt.Rotate
		a, now = next, time.Now()
	}
}

// attempt makes one attempt, once it has a slot under each limit, and maybe a hedge
// beside it. It returns the one that counts, which is judged.
func (u *unaryCall) attempt(a *unaryAttempt, now time.Time) (*unaryAttempt, error) {
	u.attempts = uint32(a.number)
	began := now
	now, err := u.acquire(now)
	if queued := now.Sub(began); queued >= noticed {
		u.method.count.wait(queued)
		if a.note == nil {
			a.note = &AttemptTrace{Number: a.number, Began: began.Sub(u.began)}
		}
		a.note.Queued = queued
	}
	if err == nil {
		if u.attempts == 1 {
			a.hedge = u.newHedge(a)
		}
		err = errNoReturn
		defer func() {
			if err == errNoReturn {
				u.abandon(a)
			}
		}()
		err = a.try(&u.rpc, now)
		u.judge(a, err, time.Now())
	} else if a.note == nil {
		a.note = u.noted(&a.attempt, a.number)
	}
	if a.hedge == nil {
		u.traced(&a.attempt, a.note, err)
		return a, err
	}
	return a.hedge.join(err)
}

// abandon ends an attempt that does not come back, because what the caller gave us panics:
// its slots must not be lost, and whoever observes it hears of its end.
func (u *unaryCall) abandon(a *unaryAttempt) {
	u.judge(a, errNoReturn, time.Now())
	if a.hedge == nil {
		u.traced(&a.attempt, a.note, errNoReturn)
		return
	}
	_, _ = a.hedge.join(errNoReturn)
}

// reason is why another attempt follows a, which ended with err.
func (a *unaryAttempt) reason(err error) int {
	switch {
	case err == errUnwanted:
		return afterUnwanted
	case a.cutShort && a.hung:
		return afterHang
	case a.cutShort:
		return afterTimeout
	default:
		return int(known(codeOf(err)))
	}
}

// wants reports whether the policy has no hope of a better reply.
func (u *unaryCall) wants(reply any) bool {
	p := &u.method.retry
	return p.Unwanted == nil || !u.method.idempotent || !p.Unwanted(reply)
}

// keep keeps a reply that is not wanted: should no better come, it is the answer.
func (u *unaryCall) keep() {
	if m, ok := u.rpc.reply.(proto.Message); ok {
		u.kept = proto.Clone(m)
	}
}

// errUnwanted is the cause of a retry for a reply that the policy does not want.
var errUnwanted = status.Error(codes.Unavailable, "surecall: the reply is not wanted: retry.Policy.Unwanted")

// end is what the caller gets. A server's error passes through untouched.
func (u *unaryCall) end(a *unaryAttempt, err error) error {
	u.executed = u.executed || a.attempt.Executed()
	if err == errUnwanted {
		return nil
	}
	if u.kept != nil {
		replace(u.rpc.reply.(proto.Message), u.kept)
		return nil
	}
	u.local = isLocal(&a.attempt, err)
	if a.overdue.Load() == late && a.unpaid && u.story().Call.Denied == "" {
		u.how.Call.Denied = event.BudgetEmpty // it was told of when it happened
	}
	return u.named(u.core.named(u.ctx, u.method.name, &a.attempt, err), u.method.deadline)
}

// replace makes m what by is.
func replace(m, by proto.Message) {
	proto.Reset(m)
	proto.Merge(m, by)
}

// deadlineError says whose deadline it was. It keeps the code of err.
func deadlineError(err error, what string) error {
	s := status.FromContextError(err)
	if code := status.Code(err); code != codes.Unknown {
		s = status.New(code, status.Convert(err).Message())
	}
	return status.Errorf(s.Code(), "surecall: %s %s", strings.TrimPrefix(s.Message(), "surecall: "), what)
}
