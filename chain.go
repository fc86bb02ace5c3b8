package surecall

import (
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/internal/wire"
)

// The path of a call, outermost first. It is one function for unary calls (unary,
// below) and one for streams (stream.go), because every link of a chain of
// interceptors allocates. The order is the point; each step stands where it does for a
// reason, and TestChainOrder has a case for each but the wire, which is gRPC's.
//
//	step                   where           constraint
//	1 observe              here            outermost: sees every rejection below
//	2 policy               method.go       one lookup; everything after it depends on the method
//	3 second best          secondbest.go   on the caller's context: the commonest final failure
//	                                       is that the call deadline was used up
//	4 call deadline        here            outside retry: all attempts of a call share it
//	5 rate limit           gate.go         outside retry, and so are the next three: they judge
//	                                       what the caller asked, not what we add. Before the
//	                                       breakers, which may open while a call waits for it
//	6 throttle             gate.go
//	7 service breaker      gate.go
//	8 method breaker       gate.go         last, because what it lets through may be its trial
//	9 retry                call.go         spends the shared budget; never the same instance
//	                                       twice while another is eligible; a rejection of
//	                                       ours is final
//	10 concurrency limits  limits.go       inside retry: every attempt holds a slot and gives a
//	                                       sample; the narrowest first
//	11 hedge               hedge.go        inside retry, beside the call's first attempt: it is
//	                                       paid for, takes a slot of its own and does not wait
//	                                       for one
//	12 attempt timeout     attempt.go      begins when the slot is held: waiting in our own
//	                                       queue blames no instance
//	13 pick                balancer        eligibility with the instance's limit, choice,
//	                                       breaker, in-flight: one pass
//	14 wire                gRPC
//	15 verdict             verdict.go      from the error this interceptor sees: gRPC's own Done
//	                                       can report success for an RPC that failed
func (c *core) unary(
	ctx context.Context, name string, req, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	state, now := c.state.Load(), time.Now()
	if state.dry != nil {
		return c.shadowUnary(ctx, state, name, rpc{req, reply, conn, invoker, opts}, now)
	}
	var asked asked
	opts = asked.read(opts)
	asked.trace.begin(name, now)
	if o := state.settings.observer; o != nil {
		ctx = asked.observedBy(ctx, o, c.service, name, now)
	}
	if c.header != nil {
		asked.policies = c.header.over(ctx, asked.policies)
	}
	m, err := state.methods.under(name, asked.policies)
	returned := false
	defer func() {
		if !returned { // what the caller gave us, a codec or a predicate, panics
			_ = c.end(state, m, name, &asked, errNoReturn, now)
		}
	}()
	if err == nil {
		if asked.notifies && m.deadline == 0 {
			m = m.within(DefaultCallDeadline)
		}
		if m.callID && !hasCallID(ctx) { // the same wherever the call is made
			ctx = metadata.AppendToOutgoingContext(ctx, wire.CallID, rand.Text())
		}
		r := rpc{req, reply, conn, invoker, opts}
		if m.second != nil {
			err = c.withSecondBest(ctx, state, m, asked, r, now)
		} else {
			_, err = c.call(ctx, state, m, asked, r, now, now)
		}
	}
	returned = true
	return c.end(state, m, name, &asked, err, now)
}

// call is what a call is inside of its second best, where it may have waited since it began.
// executed tells, of one that failed, that an instance may have executed it.
func (c *core) call(
	ctx context.Context, state *policies, m *method, asked asked, r rpc, began, now time.Time,
) (executed bool, err error) {
	deadline, has := ctx.Deadline()
	ours := !has && m.deadline > 0
	if ours {
		deadline, has = began.Add(m.deadline), true
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	u := &unaryCall{
		tries: tries{
			core: c, state: state, method: m,
			ctx: ctx, began: began, deadline: deadline, hasDeadline: has, deadlineOurs: ours,
			route: routeOf(ctx), waits: asked.waits, how: asked.story(),
		},
		rpc: r,
	}
	now, err = u.enter(now)
	if err != nil {
		return false, u.over(u.named(err, m.deadline), asked.trace)
	}
	u.first.attempt.Rotate = u.trial
	returned := false
	defer func() {
		if !returned {
			u.leave(errNoReturn)
			_ = u.over(errNoReturn, asked.trace)
		}
	}()
	err = u.run(now)
	returned = true
	u.leave(err)
	return u.executed, u.over(err, asked.trace)
}

// hasCallID reports whether the caller gave its call an ID.
func hasCallID(ctx context.Context) bool {
	md, _ := metadata.FromOutgoingContext(ctx)
	return len(md[wire.CallID]) > 0
}
