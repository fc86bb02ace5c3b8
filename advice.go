package surecall

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/event"
)

// Advice says what would have helped the call, or where to look, a sentence each; none for
// one that succeeded.
func (e *Explanation) Advice() (all []string) {
	if e.Call.Err == nil {
		return nil
	}
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	var r *Rejection
	switch {
	case errors.As(e.Call.Err, &r):
		e.onRejection(r, say)
	case e.Call.Denied != "":
		e.onDenial(say)
	default:
		e.onError(codeOf(e.Call.Err), say)
	}
	return all
}

// onRejection is for a call that was refused before anything was sent.
func (e *Explanation) onRejection(r *Rejection, say func(string, ...any)) {
	switch r.Reason {
	case ErrServiceDown:
		say("nothing of %q answers: look at its instances; a fallback, a cache or an alternate would answer meanwhile (WithFallback, WithCache, WithAlternate)", e.Service)
	case ErrMethodDown:
		say("the method fails on every instance: look at what it depends on; see WithMethodBreaker for when it is let through again")
	case ErrConcurrency:
		say("too many attempts were under way at once: find out why they take so long; if the instances can do more, raise the limit (WithConcurrency, WithInstanceConcurrency) or let calls queue (limit.Concurrency.Queue)")
	case ErrRateLimited:
		say("the rate limit was used up: raise it (WithRateLimit) or call less often")
	case ErrThrottled:
		say("the service refuses or fails much of what it is sent, so that some calls are held back: it needs fewer calls or more capacity (WithThrottle)")
	case ErrNoInstance:
		e.onNoInstance(r, say)
	}
}

func (e *Explanation) onNoInstance(r *Rejection, say func(string, ...any)) {
	s := r.States
	switch {
	case r.Pinned != "":
		say("the call could go to %q only: do not pin it, or wait until that instance is back", r.Pinned)
	case r.Known == 0:
		say("the source knows no instance of %q: is it registered, healthy, and named like this? `surecall doctor` on the client's target finds out", e.Service)
	case s[event.Failed]+s[event.Connecting] == r.Known:
		say("no instance can be connected to: `surecall doctor` on the client's target tells an address that is wrong from a port that is closed or TLS that does not fit")
	case s[event.Draining] > 0:
		say("instances were leaving and none had come yet: start new ones before old ones stop, and let those drain (package lifecycle)")
	default:
		say("no instance could take it: see the states above; with grpc.WaitForReady(true) the call would have waited for one")
	}
}

// onDenial is for a call whose last attempt could have been followed by another.
func (e *Explanation) onDenial(say func(string, ...any)) {
	switch e.Call.Denied {
	case event.NotIdempotent:
		say("if %s may be executed twice with the effect of once, say so: `option idempotency_level = IDEMPOTENT` in its proto file, or WithIdempotent(%q); then another instance would have been tried", e.Call.Method, e.Call.Method)
	case event.BudgetEmpty:
		say("the retry budget was empty: too large a share of all calls fails for retries to help; look at the instances first, then at WithRetryBudget")
	case event.AttemptsSpent:
		say("%d attempts failed: more than an instance is in trouble; retry.Policy.MaxAttempts allows for more", len(e.Call.Attempts))
	case event.NoTimeLeft:
		say("there was no time for another attempt before the deadline%s: %s", e.within(), e.longer())
	case event.ChainStop:
		say("the call was made under one that is itself a repetition: its caller repeats it, so that attempts do not multiply")
	case event.ServiceDown:
		say("nothing of %q answered at that time: look at its instances", e.Service)
	case event.ServerPushback:
		say("the server asked not to be tried again: it has too much to do")
	case event.NotKept:
		say("the stream had sent more than is kept to be sent again: see WithReplayBuffer")
	}
}

// onError is for all other calls, by what their last attempt brought.
func (e *Explanation) onError(code codes.Code, say func(string, ...any)) {
	switch {
	case code == codes.Canceled:
		say("its caller, or what that waited for, cancelled it, or the client was closed; an instance can answer so, too")
	case e.local:
		say("it is gRPC's own error about the message, not the service's: one of another type, or larger than grpc.MaxCallSendMsgSize or MaxCallRecvMsgSize allow")
	case code == codes.DeadlineExceeded && e.sent() > 0 && (e.Deadline <= 0 || e.Call.Took < e.Deadline):
		say("it is the service's own answer, before the call's time was up: see what it waits for")
	case code == codes.DeadlineExceeded:
		say("its time was up%s: %s", e.within(), e.longer())
	case code == codes.Unauthenticated || code == codes.PermissionDenied:
		say("the instance refused who called: see the call's credentials")
	case code == codes.Unimplemented:
		say("the instance does not know the method: is an older version running, or another service at its address?")
	case e.sent() == 0 && isAnswer(code):
		say("nothing was sent: the error says what is wrong with the call itself")
	case isAnswer(code) || code == codes.Unknown || code == codes.Aborted:
		say("it is the service's own answer: see its message")
	case code == codes.ResourceExhausted:
		say("the service has too much to do: see the error, and its load")
	case code == codes.Internal || code == codes.DataLoss:
		say("the service failed at this request: see its log")
	case code == codes.Unavailable:
		say("retries were off, or not for this code: see WithRetry, and WithIdempotent(%q)", e.Call.Method)
	}
}

// within says how long the call had.
func (e *Explanation) within() string {
	switch {
	case e.Deadline <= 0:
		return ""
	case e.OwnDeadline:
		return fmt.Sprintf(" of %v, which surecall set", e.Deadline.Round(time.Microsecond))
	default:
		return fmt.Sprintf(" of %v, which its caller set", e.Deadline.Round(time.Microsecond))
	}
}

// sent is how many attempts went to an instance.
func (e *Explanation) sent() (n int) {
	for i := range e.Call.Attempts {
		if e.Call.Attempts[i].Instance != "" {
			n++
		}
	}
	return n
}

// longer says what a call needed that ran out of time.
func (e *Explanation) longer() string {
	switch {
	case e.sent() == 0:
		return "it was never sent: its error says what it waited for, a limit, a breaker, a connection, or another call with the same request"
	case e.OwnDeadline:
		return "if the method takes that long, give it more: WithCallDeadline in a ForMethod that names it"
	case !e.Idempotent:
		return fmt.Sprintf("its caller has to give it more, or the method has to be idempotent, so that a slow instance is left for another: WithIdempotent(%q)", e.Call.Method)
	default:
		return "its caller has to give it more"
	}
}
