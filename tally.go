package surecall

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// tally counts what became of the calls of one method. A call that goes as usual costs it
// two atomic additions, side by side. Nothing in it is the difference of two counters: read
// while calls end, that could fall, and who takes rates would see it begin anew.
type tally struct {
	attempts atomic.Uint64                            // on an instance
	ended    [codes.Unauthenticated + 1]atomic.Uint64 // calls, by their code
	retried  [len(retryReasons)]atomic.Uint64
	denied   [len(denials)]atomic.Uint64
	rejected [len(rejectionReasons)]atomic.Uint64
	second   [len(secondBests)]atomic.Uint64

	hedges, hedgesWon atomic.Uint64

	waits  atomic.Uint64
	waited atomic.Int64 // nanoseconds
}

// What a retry may follow: an error, by its code, or one of these.
const (
	afterTimeout  = int(codes.Unauthenticated) + 1 + iota // the attempt timeout ran out
	afterHang                                             // its instance hung
	afterUnwanted                                         // a reply came, and was not wanted
)

var retryReasons = [...]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL",
	codes.Unavailable: "UNAVAILABLE", codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
	afterTimeout: "attempt timeout", afterHang: "hang", afterUnwanted: "unwanted reply",
}

var denials = [...]event.Denial{
	event.NotIdempotent, event.BudgetEmpty, event.AttemptsSpent, event.NoTimeLeft,
	event.ChainStop, event.ServiceDown, event.ServerPushback, event.NotKept,
}

var (
	rejectionReasons = [...]error{ErrNoInstance, ErrServiceDown, ErrMethodDown, ErrConcurrency, ErrRateLimited, ErrThrottled}
	rejectionNames   = [...]string{"no instance", "service down", "method down", "concurrency limit", "rate limit", "throttled"}
)

var secondBests = [...]event.SecondBest{event.FreshCache, event.StaleCache, event.Alternate, event.Fallback}

// known is code, if the specification of gRPC knows it.
func known(code codes.Code) codes.Code {
	if code > codes.Unauthenticated {
		return codes.Unknown
	}
	return code
}

// codeName is how the specification spells a code.
func codeName(code codes.Code) string { return retryReasons[known(code)] }

// end counts a call that ended with err, of that code.
func (t *tally) end(err error, code codes.Code) {
	t.ended[known(code)].Add(1)
	if err == nil {
		return
	}
	var r *Rejection
	if errors.As(err, &r) {
		bump(t.rejected[:], rejectionReasons[:], r.Reason)
	}
}

// made notes that a call had n attempts.
func (t *tally) made(n int) { t.attempts.Add(uint64(n)) }

// retry notes that another attempt follows: see retryReasons.
func (t *tally) retry(reason int) { t.retried[reason].Add(1) }

// deny notes that none does.
func (t *tally) deny(why event.Denial) { bump(t.denied[:], denials[:], why) }

// wait notes that a call, or an attempt of it, had to wait for d before it could go on, or
// was given up.
func (t *tally) wait(d time.Duration) {
	if d < noticed {
		return
	}
	t.waits.Add(1)
	t.waited.Add(int64(d))
}

func bump[K comparable](counters []atomic.Uint64, keys []K, key K) {
	if i := slices.Index(keys, key); i >= 0 {
		counters[i].Add(1)
	}
}

// read writes what was counted into m.
func (t *tally) read(m *status.Method) {
	m.Calls = counts(t.ended[:], retryReasons[:len(t.ended)])
	m.Attempts = t.attempts.Load()
	m.Retries = counts(t.retried[:], retryReasons[:])
	m.Denied = counts(t.denied[:], denials[:])
	m.SecondBest = counts(t.second[:], secondBests[:])
	m.Rejected = counts(t.rejected[:], rejectionNames[:])
	m.Hedges, m.HedgesWon = t.hedges.Load(), t.hedgesWon.Load()
	m.Waits, m.Waited = t.waits.Load(), time.Duration(t.waited.Load()).Seconds()
}

// counts returns those of the counters that counted anything, by their keys; nil: none.
func counts[K ~string](counters []atomic.Uint64, keys []K) (named map[string]uint64) {
	for i := range counters {
		if n := counters[i].Load(); n > 0 {
			if named == nil {
				named = map[string]uint64{}
			}
			named[string(keys[i])] = n
		}
	}
	return named
}
