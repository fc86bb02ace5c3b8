package surecall_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// Update takes effect with the next call, and on top of what was there.
func TestUpdate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, surecall.WithCallDeadline(time.Second))
		hangAll(cluster)
		takes := func(method string) time.Duration {
			began := time.Now()
			_, _ = unary(t.Context(), client, method)
			return time.Since(began)
		}
		if took := takes(placeMethod); took != time.Second {
			t.Errorf("before: took %v: want 1 s", took)
		}
		err := client.Update(events.option(), surecall.ForMethod(placeMethod, surecall.WithCallDeadline(2*time.Second)), surecall.WithoutServiceBreaker())
		if err != nil {
			t.Fatal(err)
		}
		if place, get := takes(placeMethod), takes(getMethod); place != 2*time.Second || get != time.Second {
			t.Errorf("after: Place took %v and Get %v: want 2 s and 1 s", place, get)
		}
		resumeAll(cluster)
		failFirst(cluster, 1, codes.Unavailable)
		get(t, client)
		if len(eventsOf[event.AttemptRetried](events)) == 0 {
			t.Error("no event: want those of the handler that was added")
		}
	})
}

// What was learned outlives a change of policy: ejections, latencies, tokens.
func TestUpdateKeepsState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), inTurn(), oneToken())
		teach(t, cluster, client, 30, 50*time.Millisecond)
		failFirst(cluster, 1, codes.Unavailable)
		get(t, client) // takes the token
		cluster.Instance(0).Fail(codes.Unavailable)
		load(t, client, placeMethod, 10*time.Millisecond, time.Second)
		if len(ejections(events)) != 1 {
			t.Fatal("not ejected")
		}
		before := client.Instances()
		if err := client.Update(surecall.WithCallDeadline(time.Second), surecall.WithBalancer(balancer.Policy{})); err != nil {
			t.Fatal(err)
		}
		for n, after := range client.Instances() {
			if after.State != before[n].State || after.Latency != before[n].Latency || after.Breaker != before[n].Breaker {
				t.Errorf("after %+v: want it as before %+v", after, before[n])
			}
		}
		cluster.Instance(0).Fail(codes.OK)
		began := time.Now()
		hangAll(cluster)
		if _, err := unary(t.Context(), client, getMethod); time.Since(began) != time.Second {
			t.Errorf("took %v, %v: want no retry, there is no token", time.Since(began), err)
		}
		if why := denials(events); !slices.Contains(why, event.BudgetEmpty) {
			t.Errorf("denied for %q: want budget empty", why)
		}
		if err := client.Update(surecall.WithRetryBudget(retry.BudgetPolicy{})); err != nil {
			t.Fatal(err)
		}
		retries := len(eventsOf[event.AttemptRetried](events))
		_, _ = unary(t.Context(), client, getMethod)
		if len(eventsOf[event.AttemptRetried](events)) == retries {
			t.Error("no retry under a new budget")
		}
	})
}

// A policy of the breaker that changes begins anew; one that stays does not.
func TestUpdateBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), inTurn())
		cluster.Instance(0).Fail(codes.Unavailable)
		load(t, client, getMethod, 10*time.Millisecond, time.Second)
		ejected := func() bool { return client.Instances()[0].State == event.Ejected }
		if !ejected() {
			t.Fatal("not ejected")
		}
		if err := client.Update(surecall.WithBreaker(breaker.Policy{})); err != nil || !ejected() {
			t.Errorf("error %v, ejected: %v: want it to stay", err, ejected())
		}
		if err := client.Update(surecall.WithoutBreaker()); err != nil || ejected() {
			t.Errorf("error %v, ejected: %v: want it to be back", err, ejected())
		}
		if err := client.Update(surecall.WithBreaker(breaker.Policy{ConsecutiveFailures: 1})); err != nil {
			t.Error(err)
		}
		get(t, client)
		get(t, client)
		get(t, client)
		if !ejected() {
			t.Error("not ejected after one failure under the new policy")
		}
	})
}

// An invalid update changes nothing, whatever of it was valid.
func TestInvalidUpdate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		hangAll(cluster)
		err := client.Update(
			surecall.WithCallDeadline(time.Second), surecall.WithBreaker(breaker.Policy{FailureRatio: 7}), nil,
			surecall.ForMethod("Place", surecall.WithCallDeadline(-1)),
		)
		for _, want := range []string{"FailureRatio 7", "option 2 is nil", `"Place"`, "WithCallDeadline -1ns"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v: want %q in it", err, want)
			}
		}
		began := time.Now()
		_, _ = unary(t.Context(), client, placeMethod)
		if took := time.Since(began); took != surecall.DefaultCallDeadline {
			t.Errorf("took %v: want the deadline of before", took)
		}
	})
}

// Updates and calls at the same time: each call sees one set of policies.
func TestUpdateConcurrently(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() {
				for k := range 50 {
					policy := breaker.Policy{ConsecutiveFailures: 3 + (n+k)%2}
					if err := client.Update(surecall.WithBreaker(policy), surecall.WithBalancer(balancer.Policy{})); err != nil {
						t.Error(err)
					}
				}
			})
			all.Go(func() {
				for range 50 {
					if _, err := unary(t.Context(), client, getMethod); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
}

// Of several patterns that fit, each option is taken from the most specific one that
// has it.
func TestForMethodPrecedence(t *testing.T) {
	const ms = time.Millisecond
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		deadline := surecall.WithCallDeadline
		client := ready(t, cluster,
			surecall.ForMethod(placeMethod, deadline(100*ms)),
			surecall.ForMethod("/orders.v1.Orders/*", deadline(200*ms), surecall.WithoutRetry()),
			surecall.ForMethod("*", deadline(300*ms), surecall.WithRetry(retry.Policy{})),
			surecall.ForMethod("/orders.v1.Orders/P*", surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: ms})),
			deadline(time.Minute),
		)
		defer holdAll(cluster)()
		for method, want := range map[string]time.Duration{placeMethod: 100 * ms, getMethod: 200 * ms} {
			began := time.Now()
			_, _ = unary(t.Context(), client, method)
			if took := time.Since(began); took != want {
				t.Errorf("%s took %v: want %v", method, took, want)
			}
		}
		if n := sum(reached(cluster)); n != 2 {
			t.Errorf("%d attempts of two calls: want no retry", n)
		}
	})
}

// A pattern that fits no method is likely misspelt.
func TestUnmatchedPatternWarns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		client := cluster.Client(events.option(),
			surecall.ForMethod("/orders.v1.Orders/Gte", surecall.WithoutRetry()),
			surecall.ForMethod("/orders.v1.Orders/G*", surecall.WithoutRetry()),
			surecall.WithIdempotent("/orders.v2.*"),
		)
		if err := client.Update(surecall.ForMethod("*", surecall.WithoutRetry())); err != nil {
			t.Fatal(err)
		}
		var warned []string
		for _, w := range eventsOf[event.ConfigWarning](events) {
			warned = append(warned, w.What)
		}
		text := strings.Join(warned, "\n")
		for pattern, want := range map[string]bool{`"/orders.v1.Orders/Gte"`: true, `"/orders.v2.*"`: true, `"/orders.v1.Orders/G*"`: false, `"*"`: false} {
			if strings.Contains(text, pattern) != want {
				t.Errorf("warnings %q: want %s in them: %v", warned, pattern, want)
			}
		}
		if len(warned) != 2 {
			t.Errorf("%d warnings: want each once, not again with each update: %q", len(warned), warned)
		}
	})
}

// Who updates a client over and over, as a document of policies does, does not make it grow.
func TestUpdateDoesNotGrow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1))
		size := 0
		for n := range 10 {
			err := client.Update(
				surecall.ForMethod(getMethod, surecall.WithCallDeadline(time.Second), surecall.WithoutRetry()),
				surecall.ForMethod("/orders.v1.Orders/*", surecall.WithConcurrency(limit.Concurrency{Limit: 10})),
				surecall.WithIdempotent(getMethod, placeMethod),
			)
			if err != nil {
				t.Fatal(err)
			}
			if now := surecall.OptionsOf(client); n > 0 && now != size {
				t.Fatalf("%d options after %d updates, %d after the first", now, n+1, size)
			} else {
				size = now
			}
		}
	})
}
