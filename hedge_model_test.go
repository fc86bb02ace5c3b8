package surecall_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// hedging is one call that may be hedged, and all that decides what becomes of it. No two
// of its instants are the same: each is some milliseconds, and microseconds of its own.
type hedging struct {
	delay    time.Duration // of the hedge
	timeout  time.Duration // of an attempt; 0: none
	leaves   time.Duration // when the caller does
	deadline bool          // it said so beforehand; else it cancels
	tokens   int           // in the budget
	full     bool          // the limit has room for one attempt, and no more
	most     int           // attempts
	attempts [3]ending     // by number
}

// ending is what an attempt comes to if it is let: a reply, an answer that no other attempt
// would mend, or a failure after which there may be another.
type ending struct {
	after time.Duration
	code  codes.Code
}

func (e ending) answers() bool { return e.code != codes.Unavailable }

func newHedging(random *rand.Rand) hedging {
	instant := func(from, most int, mark time.Duration) time.Duration {
		return time.Duration(from+random.IntN(most))*time.Millisecond + mark*time.Microsecond
	}
	h := hedging{
		delay: instant(1, 30, 1), leaves: instant(150, 100, 64), deadline: random.IntN(2) == 0,
		tokens: random.IntN(5), full: random.IntN(5) == 0, most: 2 + random.IntN(2),
	}
	if random.IntN(3) > 0 {
		h.timeout = instant(1, 70, 16)
	}
	if random.IntN(4) == 0 {
		h.leaves, h.deadline = instant(1, 80, 64), false
	}
	for n := range h.attempts {
		h.attempts[n] = ending{instant(1, 100>>n, 2<<n), []codes.Code{codes.OK, codes.NotFound, codes.Unavailable, codes.Unavailable}[random.IntN(4)]}
		if random.IntN(6) == 0 {
			h.attempts[n].after = time.Hour // it hangs
		}
	}
	return h
}

// outcome is what became of it.
type outcome struct {
	took     time.Duration
	code     codes.Code
	from     int // the attempt whose answer the caller has; 0: of none
	attempts int
	hedged   bool
	paid     int // tokens
}

func (o outcome) end(at time.Duration, code codes.Code, from int) outcome {
	o.took, o.code, o.from = at, code, from
	return o
}

// expect is the model: it goes from one instant to the next.
func (h hedging) expect() outcome {
	const idle, running, failed = 0, 1, 2 // an attempt; a hedge that is refused has failed
	o, first, hedge := outcome{attempts: 1}, running, idle
	a, s := h.attempts[0], h.attempts[1]
	late, hedgeEnds, hedgeLate := h.timeout == 0, time.Duration(0), time.Duration(0)
	for {
		now := h.leaves
		if first == running {
			now = min(now, a.after)
			if !late {
				now = min(now, h.timeout)
			}
			if hedge == idle {
				now = min(now, h.delay)
			}
		}
		if hedge == running {
			now = min(now, hedgeEnds)
			if hedgeLate > 0 {
				now = min(now, hedgeLate)
			}
		}
		switch now {
		case h.leaves:
			return h.left(o)
		case a.after:
			if a.answers() {
				return o.end(now, a.code, 1)
			}
			first = failed
		case hedgeEnds:
			if s.answers() {
				return o.end(now, s.code, 2)
			}
			hedge = failed
		case h.delay:
			if hedge = failed; !h.full && o.paid < h.tokens {
				hedge, hedgeEnds = running, now+s.after
				if timeout := h.timeoutAt(now); timeout > 0 && h.most > 2 {
					hedgeLate = now + timeout
				}
				o.attempts, o.paid, o.hedged = 2, o.paid+1, true
			}
		case h.timeout:
			late = true
			switch {
			case hedge == running:
				first = failed // its successor is under way, and paid for
			case o.attempts < h.most && o.paid < h.tokens:
				o.paid++
				return h.follow(o, now)
			}
		case hedgeLate:
			if hedgeLate = 0; first == failed && o.paid < h.tokens {
				o.paid++
				return h.follow(o, now)
			}
		}
		if first == failed && hedge != running {
			return h.again(o, now, codes.Unavailable)
		}
	}
}

// again makes another attempt after those that have failed, the last one with code, if
// there may be one.
func (h hedging) again(o outcome, now time.Duration, code codes.Code) outcome {
	if o.attempts == h.most || o.paid == h.tokens {
		return o.end(now, code, 0)
	}
	o.paid++
	return h.follow(o, now)
}

// follow makes another attempt, which is paid for. None is sent beside it.
func (h hedging) follow(o outcome, now time.Duration) outcome {
	o.attempts++
	a, timeout := h.attempts[o.attempts-1], h.timeoutAt(now)
	ends := min(now+a.after, h.leaves)
	switch {
	case timeout > 0 && now+timeout < ends && o.attempts < h.most && o.paid < h.tokens:
		o.paid++
		return h.follow(o, now+timeout)
	case ends == h.leaves:
		return h.left(o)
	case a.answers():
		return o.end(ends, a.code, o.attempts)
	}
	return h.again(o, ends, a.code)
}

// timeoutAt is that of an attempt which begins then; 0: none.
func (h hedging) timeoutAt(now time.Duration) time.Duration {
	if h.deadline {
		return min(h.timeout, (h.leaves-now)/2)
	}
	return h.timeout
}

func (h hedging) left(o outcome) outcome {
	if h.deadline {
		return o.end(h.leaves, codes.DeadlineExceeded, 0)
	}
	return o.end(h.leaves, codes.Canceled, 0)
}

// hedgingCluster plays what a call's attempts come to; other calls it answers, or fails.
type hedgingCluster struct {
	*surecalltest.Cluster
	client *surecall.Client
	events *log
	does   atomic.Int32
}

const playScript, answerAll, failEach = 0, 1, 2

func (h hedging) start(t *testing.T) *hedgingCluster {
	c := &hedgingCluster{events: &log{}}
	var played atomic.Int64
	c.Cluster = scriptedCluster(t, 4, func(ctx context.Context, _ int64) error {
		switch c.does.Load() {
		case answerAll:
			return takes(ctx, time.Millisecond)
		case failEach:
			return errUnavailable
		}
		e := h.attempts[played.Add(1)-1]
		if err := takes(ctx, e.after); err != nil || e.code == codes.OK {
			return err
		}
		return status.Error(e.code, "so says the handler")
	})
	options := []surecall.Option{
		c.events.option(), surecall.WithHedge(retry.Hedge{Delay: h.delay}), surecall.WithoutAttemptTimeout(), surecall.WithoutBreaker(),
		surecall.WithRetry(retry.Policy{MaxAttempts: h.most, BaseDelay: 1}), surecall.WithConcurrency(limit.Concurrency{Limit: h.room()}),
		surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 1e-9, PerSecond: 1e-9, MinCapacity: float64(max(1, h.tokens))}),
	}
	if h.timeout > 0 {
		options = append(options, surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: h.timeout}))
	}
	c.client = ready(t, c.Cluster, options...)
	if h.tokens == 0 {
		c.spend(t)
		c.does.Store(playScript)
	}
	return c
}

func (h hedging) room() int {
	if h.full {
		return 1
	}
	return 2
}

// spend spends what is left of the budget, and returns how much that was.
func (c *hedgingCluster) spend(t *testing.T) int {
	c.does.Store(failEach)
	var trace surecall.CallTrace
	_, _ = unary(t.Context(), c.client, getMethod, surecall.Trace(&trace),
		surecall.ForCall(surecall.WithoutHedge(), surecall.WithRetry(retry.Policy{MaxAttempts: 10, BaseDelay: 1})))
	return len(trace.Attempts) - 1
}

// idle tests that a call has left nothing behind: it is over at the instances, and all
// slots of the limit can be had. A goroutine that is left fails the bubble.
func (c *hedgingCluster) idle(t *testing.T, room int) {
	synctest.Wait()
	for n, i := range c.client.Instances() {
		if there := c.Instance(n).InFlight(); i.InFlight != 0 || there != 0 {
			t.Errorf("%s: %d in flight for the client, %d there: want none", i.ID, i.InFlight, there)
		}
	}
	c.does.Store(answerAll)
	var calls sync.WaitGroup
	for range room {
		calls.Go(func() {
			if _, err := unary(surecall.WithPriority(t.Context(), limit.Critical), c.client, getMethod, surecall.ForCall(surecall.WithoutHedge(), surecall.WithoutAttemptTimeout())); err != nil {
				t.Errorf("one of %d calls at the same time: %v", room, err)
			}
		})
	}
	calls.Wait()
}

// run makes the call, and holds what becomes of it against the model.
func (h hedging) run(t *testing.T) {
	c := h.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	if h.deadline {
		ctx, cancel = context.WithTimeout(ctx, h.leaves)
	} else {
		time.AfterFunc(h.leaves, cancel)
	}
	defer cancel()
	var (
		header, trailer metadata.MD
		trace           surecall.CallTrace
		finished        []error
	)
	retried, began := len(eventsOf[event.AttemptRetried](c.events)), time.Now()
	order, err := unary(ctx, c.client, getMethod, grpc.Header(&header), grpc.Trailer(&trailer), surecall.Trace(&trace),
		grpc.OnFinish(func(err error) { finished = append(finished, err) }))
	got := outcome{
		took: time.Since(began), code: status.Code(err), attempts: len(trace.Attempts),
		hedged: len(eventsOf[event.AttemptHedged](c.events)) > 0,
	}
	retried = len(eventsOf[event.AttemptRetried](c.events)) - retried
	c.idle(t, h.room())
	got.paid = h.tokens - c.spend(t)
	want := h.expect()
	if from := want.from; from > 0 && from <= len(trace.Attempts) {
		winner := []string{trace.Attempts[from-1].Instance}
		if slices.Equal(trailer.Get("from"), winner) && (err != nil || order.GetServedBy() == winner[0] && slices.Equal(header.Get("from"), winner)) {
			got.from = from
		}
	}
	if got != want {
		t.Errorf("%+v:\n     %+v\nwant %+v; attempts %+v", h, got, want, trace.Attempts)
	}
	if len(finished) != 1 || finished[0] != err {
		t.Errorf("OnFinish called with %v: want once, with %v", finished, err)
	}
	if trace.Err != err || got.hedged != (len(trace.Attempts) > 1 && trace.Attempts[1].Hedge) || got.attempts != 1+retried && !got.hedged {
		t.Errorf("%d retries told, trace %+v", retried, trace)
	}
}

// Whatever delay, ends, timeout, caller, budget and limit: the caller gets the one answer
// that it should, when it should, each further attempt is paid for once, and nothing is
// left of the call.
func TestHedgeModel(t *testing.T) {
	n := uint64(400)
	if testing.Short() {
		n = 50
	}
	for seed := range n {
		bubble(t, newHedging(rand.New(rand.NewPCG(seed, 7))).run)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzHedge(f *testing.F) {
	for seed := range uint64(3) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		bubble(t, newHedging(rand.New(rand.NewPCG(seed, 7))).run)
	})
}
