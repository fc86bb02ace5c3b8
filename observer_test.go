package surecall_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
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

type watched struct {
	*watcher
	call int
}

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
	return metadata.AppendToOutgoingContext(ctx, "of-call", "yes"), watched{watcher: w}
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
				[]string{"call orders" + cancelMethod, "attempt 1 hedge false", "attempt 2 hedge true", "attempt 1 ends Canceled, of context 1",
					"attempt 2 ends OK, of context 2", `call ends OK after 2 attempts, ""`}},
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
