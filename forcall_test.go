package surecall_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// overheard is what servers find in the metadata of calls under one key, in order; "" stands
// for nothing.
type overheard struct {
	key string

	mu     sync.Mutex
	values []string
}

func (h *overheard) listen() []grpc.ServerOption {
	note := func(ctx context.Context, method string) {
		if !strings.HasPrefix(method, "/orders.") {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.values = append(h.values, strings.Join(metadata.ValueFromIncomingContext(ctx, h.key), ","))
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			note(ctx, info.FullMethod)
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			note(s.Context(), info.FullMethod)
			return next(srv, s)
		}),
	}
}

// since returns what came since it was asked last.
func (h *overheard) since() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	values := h.values
	h.values = nil
	return values
}

// Every option of a call holds for one call: the same call without it is as the client's
// settings have it, before and after.
func TestForCall(t *testing.T) {
	const ms = time.Millisecond
	none := surecall.WithOptions()
	never := func(context.Context, *orders.GetRequest, error) (*orders.Order, error) {
		return nil, errors.New("closed")
	}
	// What one call meets: how long it took, how many attempts it made, how it ended.
	type met struct {
		took     time.Duration // but for the wait between attempts
		attempts int
		code     codes.Code
		served   string // by an instance, or by whom
	}
	failing := func(c *surecalltest.Cluster) { failAll(c, codes.Unavailable) }
	hanging := func(c *surecalltest.Cluster) {
		for _, i := range c.Instances() {
			i.Delay(3 * time.Second)
		}
	}
	full := surecall.WithConcurrency(limit.Concurrency{Limit: 1})
	for name, test := range map[string]struct {
		client surecall.Option
		method string
		damage func(*surecalltest.Cluster)
		call   surecall.CallOption
		base   met // without the option
		want   met // with it
	}{
		"WithCallDeadline": {none, placeMethod, hanging, surecall.WithCallDeadline(50 * ms),
			met{3 * time.Second, 1, codes.OK, ""}, met{50 * ms, 1, codes.DeadlineExceeded, ""}},
		"WithoutCallDeadline": {surecall.WithCallDeadline(50 * ms), placeMethod, hanging, surecall.WithoutCallDeadline(),
			met{50 * ms, 1, codes.DeadlineExceeded, ""}, met{3 * time.Second, 1, codes.OK, ""}},
		"WithAttemptTimeout": {surecall.WithoutAttemptTimeout(), getMethod, hanging, surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 500 * ms}),
			met{3 * time.Second, 1, codes.OK, ""}, met{4 * time.Second, 3, codes.OK, ""}},
		"WithoutAttemptTimeout": {surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 500 * ms}), getMethod, hanging, surecall.WithoutAttemptTimeout(),
			met{4 * time.Second, 3, codes.OK, ""}, met{3 * time.Second, 1, codes.OK, ""}},
		"WithRetry": {surecall.WithoutRetry(), getMethod, failing, surecall.WithRetry(retry.Policy{MaxAttempts: 2}),
			met{0, 1, codes.Unavailable, ""}, met{0, 2, codes.Unavailable, ""}},
		"WithoutRetry": {surecall.WithRetry(retry.Policy{MaxAttempts: 2}), getMethod, failing, surecall.WithoutRetry(),
			met{0, 2, codes.Unavailable, ""}, met{0, 1, codes.Unavailable, ""}},
		"WithHedge": {surecall.WithoutAttemptTimeout(), getMethod, hanging, surecall.WithHedge(retry.Hedge{Delay: 10 * ms}),
			met{3 * time.Second, 1, codes.OK, ""}, met{3 * time.Second, 2, codes.OK, ""}},
		"WithoutHedge": {surecall.WithOptions(surecall.WithoutAttemptTimeout(), surecall.WithHedge(retry.Hedge{Delay: 10 * ms})), getMethod, hanging, surecall.WithoutHedge(),
			met{3 * time.Second, 2, codes.OK, ""}, met{3 * time.Second, 1, codes.OK, ""}},
		"AsIdempotent": {surecall.WithRetry(retry.Policy{MaxAttempts: 2}), placeMethod, failing, surecall.AsIdempotent(),
			met{0, 1, codes.Unavailable, ""}, met{0, 2, codes.Unavailable, ""}},
		"AsNotIdempotent": {surecall.WithRetry(retry.Policy{MaxAttempts: 2}), getMethod, failing, surecall.AsNotIdempotent(),
			met{0, 2, codes.Unavailable, ""}, met{0, 1, codes.Unavailable, ""}},
		"WithoutRateLimit": {surecall.WithRateLimit(limit.Rate{PerSecond: 0.001}), placeMethod, nil, surecall.WithoutRateLimit(),
			met{0, 0, codes.ResourceExhausted, ""}, met{0, 1, codes.OK, ""}},
		"WithoutConcurrencyLimit": {full, placeMethod, nil, surecall.WithoutConcurrencyLimit(),
			met{0, 0, codes.ResourceExhausted, ""}, met{0, 1, codes.OK, ""}},
		"WithFallback": {surecall.WithoutRetry(), getMethod, failing, surecall.WithFallback(madeUp),
			met{0, 1, codes.Unavailable, ""}, met{0, 1, codes.OK, "fallback"}},
		"WithoutFallback": {surecall.WithOptions(surecall.WithoutRetry(), surecall.ForMethod(getMethod, surecall.WithFallback(madeUp))), getMethod, failing, surecall.WithoutFallback(),
			met{0, 1, codes.OK, "fallback"}, met{0, 1, codes.Unavailable, ""}},
		"WithFallbackWhen": {surecall.WithOptions(surecall.WithoutRetry(), surecall.ForMethod(getMethod, surecall.WithFallback(madeUp))), getMethod, failing,
			surecall.WithFallbackWhen(func(error) bool { return false }),
			met{0, 1, codes.OK, "fallback"}, met{0, 1, codes.Unavailable, ""}},
		"a fallback that fails": {surecall.WithOptions(surecall.WithoutRetry(), surecall.ForMethod(getMethod, surecall.WithFallback(madeUp))), getMethod, failing,
			surecall.WithFallback(never),
			met{0, 1, codes.OK, "fallback"}, met{0, 1, codes.Unknown, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 3)
				client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(), test.client)
				if test.damage != nil {
					test.damage(cluster)
				}
				switch name {
				case "WithoutRateLimit":
					_, _ = unary(t.Context(), client, test.method) // takes the only token
				case "WithoutConcurrencyLimit":
					cluster.Instance(0).Delay(time.Hour)
					cluster.Instance(1).Delay(time.Hour)
					cluster.Instance(2).Delay(time.Hour)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					go func() { _, _ = unary(ctx, client, test.method) }() // takes the only slot
					advance(ms)
					for _, i := range cluster.Instances() {
						i.Delay(0)
					}
				}
				call := func(options ...grpc.CallOption) met {
					before, began := cluster.Calls(), time.Now()
					order, err := unary(t.Context(), client, test.method, options...)
					m := met{took: time.Since(began).Truncate(50 * ms), attempts: cluster.Calls() - before, code: status.Code(err)}
					if by := order.GetServedBy(); !strings.HasPrefix(by, "orders-") {
						m.served = by
					}
					return m
				}
				for n, want := range []met{test.base, test.want, test.base} {
					var options []grpc.CallOption
					if n == 1 {
						options = append(options, surecall.ForCall(test.call))
					}
					if got := call(options...); got != want {
						t.Errorf("call %d: %+v: want %+v", n+1, got, want)
					}
				}
			})
		})
	}
}

// Of several ForCall all count, the last one first; later ones win.
func TestForCallTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ids := &overheard{key: "surecall-call-id"}
		slow := grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if info.FullMethod == placeMethod { // probes are answered
				return nil, takes(ctx, time.Hour)
			}
			return next(ctx, req)
		})
		cluster := surecalltest.NewCluster(t, 3, append(ids.listen(), slow)...)
		client := ready(t, cluster)
		began := time.Now()
		_, err := unary(t.Context(), client, placeMethod,
			surecall.ForCall(surecall.WithCallDeadline(time.Second), surecall.WithCallID()),
			surecall.ForCall(surecall.WithCallDeadline(2*time.Second)),
			surecall.ForCall())
		if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != 2*time.Second {
			t.Errorf("%v after %v: want the later deadline, 2 s", err, took)
		}
		if got := ids.since(); len(got) != 1 || got[0] == "" {
			t.Errorf("call IDs %q: want one, by the earlier ForCall", got)
		}
	})
}

// What is wrong with the options of a call ends it before anything is sent, with what is
// wrong: unary calls and streams.
func TestForCallInvalid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		client := ready(t, cluster, events.option(), surecall.WithRateLimit(limit.Rate{PerSecond: 0.001}))
		for name, test := range map[string]struct {
			options []surecall.CallOption
			want    []string
		}{
			"nil":             {[]surecall.CallOption{surecall.WithoutRetry(), nil}, []string{"surecall: ForCall: option 1 is nil"}},
			"deadline":        {[]surecall.CallOption{surecall.WithCallDeadline(-1)}, []string{"surecall: ForCall: ", "WithCallDeadline -1ns: want more than 0"}},
			"two":             {[]surecall.CallOption{surecall.WithRetry(retry.Policy{MaxAttempts: 99}), surecall.WithHedge(retry.Hedge{Delay: -1})}, []string{"MaxAttempts 99: want 1 to 10", "Hedge.Delay -1ns"}},
			"attempt timeout": {[]surecall.CallOption{surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: -1})}, []string{"AttemptTimeout.Fixed -1ns"}},
			"replay buffer":   {[]surecall.CallOption{surecall.WithReplayBuffer(-1)}, []string{"WithReplayBuffer -1: want more than 0 bytes"}},
			"alternate":       {[]surecall.CallOption{surecall.WithAlternate(nil)}, []string{"WithAlternate: nil"}},
			"fallback":        {[]surecall.CallOption{surecall.WithFallback[*orders.GetRequest, *orders.Order](nil)}, []string{"WithFallback: nil"}},
		} {
			var trace surecall.CallTrace
			options := []grpc.CallOption{surecall.ForCall(test.options...), surecall.Trace(&trace)}
			finished := 0
			options = append(options, grpc.OnFinish(func(error) { finished++ }))
			_, unaryErr := unary(t.Context(), client, getMethod, options...)
			stream, streamErr := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{}, options...)
			if stream != nil {
				t.Errorf("%s: a stream", name)
			}
			for _, err := range []error{unaryErr, streamErr} {
				for _, want := range test.want {
					if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %v: want INVALID_ARGUMENT and %q", name, err, want)
					}
				}
			}
			if trace.Err == nil || len(trace.Attempts) != 0 || finished != 2 {
				t.Errorf("%s: trace %+v, OnFinish called %d times: want the error and no attempt, and each call's once", name, trace, finished)
			}
		}
		if n := cluster.Calls(); n != 0 {
			t.Errorf("%d calls reached a server: want none", n)
		}
		if told := eventsOf[event.CallRejected](events); len(told) > 0 {
			t.Errorf("events %v: want none, nobody was refused", told)
		}
		get(t, client) // the only token is still there
	})
}

// Switched off for one call, a limit or a breaker is neither asked nor told.
func TestForCallLeavesStateAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutRetry(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
			surecall.WithRateLimit(limit.Rate{PerSecond: 0.001, Burst: 30}), surecall.WithConcurrency(limit.Concurrency{Limit: 2}),
			surecall.WithMethodBreaker(breaker.MethodPolicy{}))
		off := surecall.ForCall(surecall.WithoutRateLimit(), surecall.WithoutConcurrencyLimit(), surecall.WithoutMethodBreaker())
		failAll(cluster, codes.Unavailable)
		for range 100 {
			if _, err := unary(t.Context(), client, placeMethod, off); status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
		}
		if told := eventsOf[event.MethodBreakerChanged](events); len(told) > 0 {
			t.Errorf("events %+v: want the breaker not to have been told", told)
		}
		failAll(cluster, codes.OK)
		release := holdAll(cluster)
		var calls sync.WaitGroup
		for range 10 { // five times the limit
			calls.Go(func() {
				if _, err := unary(t.Context(), client, placeMethod, off); err != nil {
					t.Error(err)
				}
			})
		}
		advance(time.Millisecond)
		for range 2 {
			calls.Go(func() {
				if _, err := unary(t.Context(), client, placeMethod); err != nil {
					t.Errorf("%v: want both slots free", err)
				}
			})
		}
		advance(time.Millisecond)
		release()
		calls.Wait()
		for range 27 { // 2 tokens are used, and one is kept for critical calls
			if _, err := unary(t.Context(), client, placeMethod); err != nil {
				t.Fatalf("%v: want the tokens there", err)
			}
		}
		if _, err := unary(t.Context(), client, placeMethod); !errors.Is(err, surecall.ErrRateLimited) {
			t.Errorf("%v: want the tokens used up", err)
		}
		if _, err := unary(t.Context(), client, placeMethod, surecall.ForCall(surecall.WithoutRetry())); !errors.Is(err, surecall.ErrRateLimited) {
			t.Errorf("%v: want another option for a call to leave the limit on", err)
		}
	})
}

// A call under options of its own counts for the throttle and the breaker of its method,
// unless they are what was switched off.
func TestForCallCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutRetry(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
			surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 5}))
		failAll(cluster, codes.Unavailable)
		for range 5 {
			_, _ = unary(t.Context(), client, placeMethod, surecall.ForCall(surecall.WithCallDeadline(time.Second)))
		}
		if _, err := unary(t.Context(), client, placeMethod); !errors.Is(err, surecall.ErrMethodDown) {
			t.Errorf("%v: want the breaker open", err)
		}
		if _, err := unary(t.Context(), client, placeMethod, surecall.ForCall(surecall.WithoutMethodBreaker())); status.Code(err) != codes.Unavailable || errors.Is(err, surecall.ErrMethodDown) {
			t.Errorf("%v: want the server's own", err)
		}
	})
}

// Streams take the options of a call too: a deadline, which they have only if somebody
// says so, and what is kept of them.
func TestForCallStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		stub := orders.NewOrdersClient(client)
		for _, i := range cluster.Instances() {
			i.Hang() // else the handler ends at the same moment as the deadline, and its end may come first
		}
		for _, d := range []time.Duration{time.Second, 2 * time.Second} {
			began := time.Now()
			stream, err := stub.Watch(t.Context(), &orders.GetRequest{}, surecall.ForCall(surecall.WithCallDeadline(d)))
			for err == nil {
				_, err = stream.Recv()
			}
			if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != d || !strings.Contains(err.Error(), forTheCaller) {
				t.Errorf("%v after %v: want the deadline of %v, and whose it is", err, took, d)
			}
		}
		for _, i := range cluster.Instances() {
			i.Resume()
		}
		synctest.Wait()
		for _, test := range []struct {
			option   surecall.CallOption
			attempts int
		}{{surecall.WithoutReplayBuffer(), 1}, {surecall.WithReplayBuffer(1 << 10), 2}} {
			before := cluster.Calls()
			failFirst(cluster, 1, codes.Unavailable)
			stream, err := stub.Watch(t.Context(), &orders.GetRequest{Id: "1"}, surecall.ForCall(test.option, surecall.WithCallDeadline(time.Second)))
			if err == nil {
				_, err = stream.Recv()
			}
			if n := cluster.Calls() - before; n != test.attempts || (err == nil) != (test.attempts == 2) {
				t.Errorf("%d attempts, %v: want %d", n, err, test.attempts)
			}
			for _, i := range cluster.Instances() {
				i.Hang()
			}
			for err == nil {
				_, err = stream.Recv()
			}
			if err == io.EOF {
				t.Error("the stream ended: want its deadline to have done so")
			}
			for _, i := range cluster.Instances() {
				i.Resume()
			}
			synctest.Wait()
		}
	})
}
