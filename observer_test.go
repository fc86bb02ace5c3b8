package surecall_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// watcher writes down what an observer is told.
type watcher struct {
	mu   sync.Mutex
	told []string
}

type watched struct{ *watcher }

type attemptKey struct{}

func (w *watcher) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf(format, args...))
}

func (w *watcher) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = nil
	return told
}

func (w *watcher) Call(ctx context.Context, service, method string) (context.Context, surecall.CallObserver) {
	w.say("call %s", service+method)
	return metadata.AppendToOutgoingContext(ctx, "of-call", "yes"), watched{w}
}

func (w watched) Attempt(ctx context.Context, number int, hedge bool) context.Context {
	w.say("attempt %d hedge %v", number, hedge)
	return context.WithValue(ctx, attemptKey{}, number)
}

func (w watched) AttemptEnds(ctx context.Context, a *surecall.AttemptTrace) {
	w.say("attempt %d ends %v, of context %v", a.Number, status.Code(a.Err), ctx.Value(attemptKey{}))
}

func (w watched) CallEnds(t *surecall.CallTrace) {
	w.say("call ends %v after %d attempts, %q", status.Code(t.Err), len(t.Attempts), t.SecondBest)
}

// An observer is told of each call and each attempt once, in order, whatever becomes of them.
func TestObserver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var w watcher
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, inTurn(), surecall.WithObserver(&w), surecall.WithoutServiceBreaker(), surecall.WithoutBreaker(),
			surecall.ForMethod(cancelMethod, surecall.WithHedge(retry.Hedge{Delay: 10 * time.Millisecond}), surecall.WithoutAttemptTimeout()))
		watch := func() error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "1"})
			for err == nil {
				_, err = s.Recv()
				cancel()
			}
			return err
		}
		for _, test := range []struct {
			name   string
			damage func()
			call   func()
			want   []string
		}{
			{"as usual", func() {}, func() { get(t, client) },
				[]string{"call orders" + getMethod, "attempt 1 hedge false", "attempt 1 ends OK, of context 1", `call ends OK after 1 attempts, ""`}},
			{"retried", func() { failFirst(cluster, 1, codes.Unavailable) }, func() { get(t, client) },
				[]string{"call orders" + getMethod, "attempt 1 hedge false", "attempt 1 ends Unavailable, of context 1",
					"attempt 2 hedge false", "attempt 2 ends OK, of context 2", `call ends OK after 2 attempts, ""`}},
			{"hedged", func() { slowFirst(cluster, time.Second) }, func() { _, _ = unary(t.Context(), client, cancelMethod) },
				[]string{"call orders" + cancelMethod, "attempt 1 hedge false", "attempt 2 hedge true", "attempt 2 ends OK, of context 2",
					"attempt 1 ends Canceled, of context 1", `call ends OK after 2 attempts, ""`}},
			{"rejected", func() {}, func() {
				client.Update(surecall.WithRateLimit(limit.Rate{PerSecond: 1e-3, Burst: 1}))
				get(t, client)
				_, _ = unary(t.Context(), client, getMethod)
				client.Update(surecall.WithoutRateLimit())
			}, []string{"call orders" + getMethod, "attempt 1 hedge false", "attempt 1 ends OK, of context 1", `call ends OK after 1 attempts, ""`,
				"call orders" + getMethod, `call ends ResourceExhausted after 0 attempts, ""`}},
			{"by fallback", func() { failAll(cluster, codes.Unavailable) }, func() {
				_, _ = unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithFallback(madeUp), surecall.WithoutRetry()))
			}, []string{"call orders" + getMethod, "attempt 1 hedge false", "attempt 1 ends Unavailable, of context 1", `call ends OK after 1 attempts, "fallback"`}},
			{"stream", func() { failFirst(cluster, 1, codes.Unavailable) }, func() { _ = watch() },
				[]string{"call orders" + watchMethod, "attempt 1 hedge false", "attempt 1 ends Unavailable, of context 1",
					"attempt 2 hedge false", "attempt 2 ends Canceled, of context 2", `call ends Canceled after 2 attempts, ""`}},
			{"no more", func() { client.Update(surecall.WithObserver(nil)) }, func() { get(t, client) }, nil},
		} {
			failAll(cluster, codes.OK)
			slowAll(cluster, 0)
			test.damage()
			w.take()
			test.call()
			if got := w.take(); !slices.Equal(got, test.want) {
				t.Errorf("%s: told\n%q, want\n%q", test.name, got, test.want)
			}
		}
	})
}

// Of two attempts that go on together each tells of its own end when it has come: who
// measures it would else count the time of the other.
func TestObserverIsToldAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const delay, fails, answers = 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond
		cluster, ends := surecalltest.NewCluster(t, 2), &endings{began: time.Now()}
		client := ready(t, cluster, surecall.WithObserver(ends), surecall.WithHedge(retry.Hedge{Delay: delay}), surecall.WithoutAttemptTimeout())
		var first atomic.Pointer[surecalltest.Instance]
		for _, i := range cluster.Instances() {
			i.DelayFunc(func(string, int64) time.Duration {
				if first.CompareAndSwap(nil, i) {
					return fails
				}
				return answers
			})
			i.FailFunc(func(string, int64) error {
				if first.Load() == i {
					return errUnavailable
				}
				return nil
			})
		}
		ends.began = time.Now()
		get(t, client)
		if want := []time.Duration{fails, delay + answers}; !slices.Equal(ends.after, want) {
			t.Errorf("told of ends after %v: want %v", ends.after, want)
		}
	})
}

// An attempt of a stream that was refused when it was to be sent has ended too.
func TestObserverOfStreamThatIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var w watcher
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithObserver(&w))
		cluster.Instance(0).FailFunc(func(string, int64) error {
			time.AfterFunc(time.Nanosecond, cluster.Instance(0).Kill)
			return retryIn(codes.Unavailable, time.Millisecond)
		})
		s, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if status.Convert(err).Message() != "not now" {
			t.Errorf("%v: want the instance's error", err)
		}
		if got, want := w.take(), []string{"call orders" + watchMethod, "attempt 1 hedge false", "attempt 1 ends Unavailable, of context 1",
			"attempt 2 hedge false", "attempt 2 ends Unavailable, of context 2", `call ends Unavailable after 2 attempts, ""`}; !slices.Equal(got, want) {
			t.Errorf("told\n%q, want\n%q", got, want)
		}
	})
}

// endings notes when attempts end.
type endings struct {
	began time.Time
	mu    sync.Mutex
	after []time.Duration
}

func (e *endings) Call(ctx context.Context, _, _ string) (context.Context, surecall.CallObserver) {
	return ctx, e
}

func (e *endings) Attempt(ctx context.Context, _ int, _ bool) context.Context { return ctx }

func (e *endings) AttemptEnds(context.Context, *surecall.AttemptTrace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.after = append(e.after, time.Since(e.began))
}

func (e *endings) CallEnds(*surecall.CallTrace) {}
