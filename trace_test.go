package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// story is what a trace tells, in short: of each attempt its number, instance, verdict and
// end, and then the call's.
func story(t surecall.CallTrace) string {
	var s string
	for _, a := range t.Attempts {
		s += fmt.Sprintf("%d %s", a.Number, a.Instance)
		if a.Hedge {
			s += " hedge"
		}
		s += fmt.Sprintf(" %v %v", a.Verdict, status.Code(a.Err))
		if a.CutOff {
			s += " cut"
		}
		if a.Executed {
			s += " executed"
		}
		s += "; "
	}
	s += status.Code(t.Err).String()
	if t.SecondBest != "" {
		s += " by " + string(t.SecondBest)
	}
	return s
}

// A trace tells of each attempt where it went, how long it took and what it meant. The same
// one can be used for call after call.
func TestTrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const ms = time.Millisecond
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, inTurn(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
			surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 100 * ms}),
			surecall.ForMethod(cancelMethod, surecall.WithHedge(retry.Hedge{Delay: 10 * ms})),
			surecall.ForMethod("/orders.v1.Orders/G*", surecall.WithFallback(madeUp), surecall.WithFallbackWhen(func(err error) bool {
				return status.Code(err) == codes.Aborted
			})))
		var trace surecall.CallTrace
		for _, test := range []struct {
			name, method string
			damage       func()
			want         string // with A for the first instance, and so on, in the order of attempts
			took         time.Duration
			began        []time.Duration // of attempts
		}{
			{"at once", placeMethod, func() {}, "1 A success OK executed; OK", 0, []time.Duration{0}},
			{"retried", getMethod, func() { failFirst(cluster, 1, codes.Unavailable) },
				"1 A failure Unavailable executed; 2 B success OK executed; OK", 0, []time.Duration{0, 0}},
			{"not retried", placeMethod, func() { failFirst(cluster, 1, codes.Unavailable) },
				"1 A failure Unavailable executed; Unavailable", 0, []time.Duration{0}},
			{"an answer", placeMethod, func() { failAll(cluster, codes.NotFound) },
				"1 A success NotFound executed; NotFound", 0, []time.Duration{0}},
			{"cut", getMethod, func() { slowFirst(cluster, time.Second) },
				"1 A failure DeadlineExceeded cut executed; 2 B success OK executed; OK", 100 * ms, []time.Duration{0, 100 * ms}},
			{"hedged, the second wins", cancelMethod, func() { slowFirst(cluster, time.Second) },
				"1 A ignored Canceled cut executed; 2 B hedge success OK executed; OK", 10 * ms, []time.Duration{0, 10 * ms}},
			{"hedged, the first wins", cancelMethod, func() { slowAll(cluster, 15*ms) },
				"1 A success OK executed; 2 B hedge ignored Canceled cut executed; OK", 15 * ms, []time.Duration{0, 10 * ms}},
			{"second best", getMethod, func() { failAll(cluster, codes.Aborted) },
				"1 A success Aborted executed; OK by fallback", 0, []time.Duration{0}},
		} {
			failAll(cluster, codes.OK)
			slowAll(cluster, 0)
			test.damage()
			advance(time.Minute) // a method that fails alike everywhere is blamed itself
			began := time.Now()
			_, err := unary(t.Context(), client, test.method, surecall.Trace(&trace))
			names := map[string]string{}
			for n, a := range trace.Attempts {
				if _, ok := names[a.Instance]; !ok {
					names[a.Instance] = string(rune('A' + len(names)))
				}
				if a.Address == "" || a.Queued != 0 || n < len(test.began) && a.Began != test.began[n] {
					t.Errorf("%s: attempt %+v: want it to begin after %v, with its address", test.name, a, test.began)
				}
				trace.Attempts[n].Instance = names[a.Instance]
			}
			if got := story(trace); got != test.want {
				t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
			}
			if trace.Method != test.method || !trace.Began.Equal(began) || trace.Took != test.took || trace.Took != time.Since(began) || !errors.Is(trace.Err, err) {
				t.Errorf("%s: %+v: want the method, when it began, that it took %v, and %v", test.name, trace, test.took, err)
			}
		}
	})
}

func slowAll(c *surecalltest.Cluster, d time.Duration) {
	for _, i := range c.Instances() {
		i.Delay(d)
	}
}

// slowFirst makes the next call that reaches the cluster take d.
func slowFirst(c *surecalltest.Cluster, d time.Duration) {
	before := c.Calls()
	for _, i := range c.Instances() {
		i.DelayFunc(func(string, int64) time.Duration {
			if c.Calls() == before+1 {
				return d
			}
			return 0
		})
	}
}

// A call that was rejected tells why, and that there was no attempt, or none on an
// instance.
func TestTraceOfRejections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithoutAttemptTimeout(), surecall.WithConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 1}}),
			surecall.ForMethod(getMethod, surecall.WithRateLimit(limit.Rate{PerSecond: 0.001})))
		get(t, client)
		var trace surecall.CallTrace
		_, _ = unary(t.Context(), client, getMethod, surecall.Trace(&trace))
		if !errors.Is(trace.Err, surecall.ErrRateLimited) || trace.Attempts != nil {
			t.Errorf("%+v: want the rate limit, and no attempt", trace)
		}
		c := newCrowd(t, cluster, client)
		if c.add(t.Context(), 1, placeMethod) != 1 {
			t.Fatal("no room")
		}
		_, _ = unary(t.Context(), client, placeMethod, surecall.Trace(&trace))
		if !errors.Is(trace.Err, surecall.ErrConcurrency) || len(trace.Attempts) != 1 {
			t.Fatalf("%+v: want the limit, and an attempt that it held back", trace)
		}
		a := trace.Attempts[0]
		if a.Instance != "" || a.Executed || a.Verdict != breaker.Ignored || !errors.Is(a.Err, surecall.ErrConcurrency) || a.Queued != 100*time.Millisecond {
			t.Errorf("attempt %+v: want none picked, and 100 ms in the queue", a)
		}
		c.disperse()
		cluster.Instance(0).Kill()
		advance(5 * time.Second)
		_, _ = unary(t.Context(), client, placeMethod, surecall.Trace(&trace))
		if got, want := story(trace), "1  ignored Unavailable; Unavailable"; got != want || !errors.Is(trace.Err, surecall.ErrNoInstance) {
			t.Errorf("%q, %v: want %q", got, trace.Err, want)
		}
	})
}

// A call that a cache answers tells so, and how old the answer is.
func TestTraceOfCachedCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.ForMethod(getMethod, surecall.WithoutRetry(),
			surecall.WithCache(surecall.CachePolicy{Fresh: time.Second, Stale: time.Hour})))
		var trace surecall.CallTrace
		for _, test := range []struct {
			wait     time.Duration
			damage   codes.Code
			by       event.SecondBest
			age      time.Duration
			attempts int
		}{
			{0, codes.OK, "", 0, 1},
			{500 * time.Millisecond, codes.OK, event.FreshCache, 500 * time.Millisecond, 0},
			{time.Minute, codes.Unavailable, event.StaleCache, time.Minute + 500*time.Millisecond, 1},
			{0, codes.OK, "", 0, 1},
		} {
			advance(test.wait)
			failAll(cluster, test.damage)
			if _, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace)); err != nil {
				t.Fatal(err)
			}
			if trace.SecondBest != test.by || trace.Age != test.age || len(trace.Attempts) != test.attempts || trace.Err != nil {
				t.Errorf("%+v: want %q, age %v, %d attempts", trace, test.by, test.age, test.attempts)
			}
		}
	})
}

// A stream's trace is there when its last message has been received, or when its caller has
// left it.
func TestTraceOfStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		stub := orders.NewOrdersClient(client)
		var trace surecall.CallTrace
		failFirst(cluster, 1, codes.Unavailable)
		ctx, cancel := context.WithCancel(t.Context())
		watch, err := stub.Watch(ctx, &orders.GetRequest{}, surecall.Trace(&trace))
		if err == nil {
			_, err = watch.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Minute)
		cancel()
		for err == nil {
			_, err = watch.Recv()
		}
		advance(time.Millisecond)
		if len(trace.Attempts) != 2 || trace.Attempts[0].Verdict != breaker.Failure || trace.Attempts[1].Instance == trace.Attempts[0].Instance {
			t.Errorf("%+v: want a failed attempt, and one elsewhere", trace)
		}
		if status.Code(trace.Err) != codes.Canceled || trace.Took.Round(time.Second) != time.Minute || trace.Method != watchMethod {
			t.Errorf("%+v: want it cancelled after a minute", trace)
		}

		imports, err := stub.Import(t.Context(), surecall.Trace(&trace))
		for n := 0; n < 3 && err == nil; n++ {
			err = imports.Send(&orders.PlaceRequest{Item: "tea"})
		}
		if err == nil {
			_, err = imports.CloseAndRecv()
		}
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if len(trace.Attempts) != 1 || trace.Err != nil || trace.Attempts[0].Verdict != breaker.Success || trace.Attempts[0].Err != nil {
			t.Errorf("%+v: want one attempt that succeeded, in a trace used again", trace)
		}
	})
}
