package surecall_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// protectionCase is a situation in which one protection acts.
type protectionCase struct {
	protection surecall.Protection
	instances  int
	options    []surecall.Option
	// begin brings the situation about and returns what tells whether the protection acts, as
	// often as it is asked. Where it goes by what it has learned or counted, that is done in
	// begin: so it is kept if it acts again.
	begin func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) (acts func() bool)
}

// rejects tells whether calls are rejected for that reason; two, since one may be a trial.
func rejects(t *testing.T, client *surecall.Client, reason error) func() bool {
	return func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, one := unary(ctx, client, getMethod)
		_, other := unary(ctx, client, getMethod)
		return errors.Is(one, reason) || errors.Is(other, reason)
	}
}

// holdOne has a call under way until the test is over.
func holdOne(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) {
	release := holdAll(c)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = unary(t.Context(), client, getMethod, surecall.ForCall(surecall.WithCallDeadline(time.Hour)))
	}()
	synctest.Wait()
	t.Cleanup(func() { release(); <-ended })
}

func protectionCases() []protectionCase {
	ms := time.Millisecond
	noBreaker := surecall.WithOptions(surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
	return []protectionCase{
		{surecall.ProtectionBreaker, 3, []surecall.Option{inTurn()}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			c.Instance(0).Fail(codes.Unavailable)
			load(t, client, placeMethod, 10*ms, 300*ms)
			return func() bool { return client.Instances()[0].State == event.Ejected }
		}},
		{surecall.ProtectionServiceBreaker, 2, nil, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			failAll(c, codes.Unavailable)
			load(t, client, placeMethod, 5*ms, 1500*ms)
			return rejects(t, client, surecall.ErrServiceDown)
		}},
		{surecall.ProtectionMethodBreaker, 2, []surecall.Option{surecall.WithMethodBreaker(breaker.MethodPolicy{})}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			failAll(c, codes.Internal)
			load(t, client, getMethod, 5*ms, 500*ms)
			return rejects(t, client, surecall.ErrMethodDown)
		}},
		{surecall.ProtectionRetry, 2, []surecall.Option{inTurn(), noBreaker}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			c.Instance(0).Fail(codes.Unavailable)
			return func() bool {
				advance(2 * time.Second) // the budget is full again
				return failures(load(t, client, getMethod, ms, 8*ms)) == 0
			}
		}},
		{surecall.ProtectionHedge, 2, []surecall.Option{inTurn(), surecall.WithHedge(retry.Hedge{Delay: 10 * ms})}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			c.Instance(0).Delay(150 * ms)
			return func() bool {
				before := c.Calls()
				load(t, client, getMethod, 200*ms, 800*ms)
				return c.Calls() > before+4
			}
		}},
		{surecall.ProtectionAttemptTimeout, 2, []surecall.Option{inTurn(), noBreaker}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			c.Instance(0).Delay(900 * ms)
			return func() bool {
				return !slices.ContainsFunc(load(t, client, getMethod, time.Second, 4*time.Second), func(r result) bool { return r.took > 500*ms })
			}
		}},
		{surecall.ProtectionCallDeadline, 1, []surecall.Option{noBreaker}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			t.Cleanup(holdAll(c))
			return func() bool {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(20*time.Second, cancel).Stop()
				defer cancel()
				began := time.Now()
				_, _ = unary(ctx, client, placeMethod)
				return time.Since(began) == surecall.DefaultCallDeadline
			}
		}},
		{surecall.ProtectionConcurrency, 2, []surecall.Option{surecall.WithConcurrency(limit.Concurrency{Limit: 1})}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			holdOne(t, c, client)
			return rejects(t, client, surecall.ErrConcurrency)
		}},
		{surecall.ProtectionInstanceConcurrency, 1, []surecall.Option{surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1})}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			holdOne(t, c, client)
			return rejects(t, client, surecall.ErrConcurrency)
		}},
		{surecall.ProtectionRate, 2, []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: 0.001, Burst: 1})}, func(t *testing.T, _ *surecalltest.Cluster, client *surecall.Client) func() bool {
			let(t.Context(), client, getMethod, 1)
			return rejects(t, client, surecall.ErrRateLimited)
		}},
		{surecall.ProtectionThrottle, 2, []surecall.Option{noBreaker, surecall.WithThrottle(limit.Throttle{})}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			failAll(c, codes.ResourceExhausted)
			let(t.Context(), client, getMethod, 300)
			return func() bool { return let(t.Context(), client, getMethod, 100) < 80 }
		}},
		{surecall.ProtectionCache, 2, []surecall.Option{surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour, Stale: time.Hour})}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			return func() bool {
				get(t, client)
				before := c.Calls()
				get(t, client)
				return c.Calls() == before
			}
		}},
		{surecall.ProtectionAlternate, 1, nil, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			if err := client.Update(surecall.WithAlternate(ready(t, surecalltest.NewCluster(t, 1)))); err != nil {
				t.Fatal(err)
			}
			c.Instance(0).Fail(codes.Internal)
			return func() bool { return failures(load(t, client, getMethod, ms, 3*ms)) == 0 }
		}},
		{surecall.ProtectionFallback, 1, []surecall.Option{surecall.ForMethod(getMethod, surecall.WithFallback(madeUp))}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			c.Instance(0).Fail(codes.Internal)
			return func() bool { return failures(load(t, client, getMethod, ms, 3*ms)) == 0 }
		}},
		{surecall.ProtectionHealthWatch, 2, nil, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			c.Instance(0).Serving(false)
			synctest.Wait()
			return func() bool { return gets(t, c, client, 20)[0] == 0 }
		}},
		{surecall.ProtectionHangDetection, 3, []surecall.Option{inTurn(), noBreaker}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			return func() bool {
				advance(30 * time.Second) // what was learned of the last hang is forgotten
				teach(t, c, client, 60, 5*ms)
				c.Instance(0).Hang()
				time.AfterFunc(time.Second, c.Instance(0).Resume)
				results := load(t, client, getMethod, 5*ms, time.Second)
				load(t, client, getMethod, 5*ms, time.Second)
				return !slices.ContainsFunc(results[len(results)/2:], func(r result) bool { return r.took > 100*ms })
			}
		}},
		{surecall.ProtectionSlowStart, 2, []surecall.Option{noBreaker}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			advance(time.Second)
			c.Add()
			advance(time.Second)
			return func() bool { return gets(t, c, client, 300)[2] < 50 }
		}},
		{surecall.ProtectionYield, 2, []surecall.Option{inTurn(), noBreaker}, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			return func() bool {
				c.Instance(0).Fail(codes.ResourceExhausted)
				load(t, client, placeMethod, 10*ms, time.Second)
				c.Instance(0).Fail(codes.OK)
				return gets(t, c, client, 60)[0] < 25
			}
		}},
		{surecall.ProtectionDoubt, 3, nil, func(t *testing.T, c *surecalltest.Cluster, client *surecall.Client) func() bool {
			return func() bool {
				for _, i := range c.Instances()[:2] {
					i.List()
				}
				synctest.Wait()
				c.EmptyList()
				synctest.Wait()
				failed := failures(load(t, client, getMethod, ms, 3*ms))
				c.Relist()
				advance(time.Second)
				return failed == 0
			}
		}},
	}
}

// Each protection acts while it is on, does not while it is off, and acts again, by what it
// knows from before, when it is on again.
func TestWithDisabled(t *testing.T) {
	tested := []surecall.Protection{surecall.ProtectionDraining}
	for _, test := range protectionCases() {
		tested = append(tested, test.protection)
		t.Run(string(test.protection), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, test.instances), &log{}
				client := ready(t, cluster, append(test.options, events.option())...)
				switchesOff(t, client, events, test.protection, test.begin(t, cluster, client))
			})
		})
	}
	t.Run("draining", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			cluster, servers := leavers(t, 2)
			events := &log{}
			client := ready(t, cluster, events.option())
			servers[0].says(itself)
			switchesOff(t, client, events, surecall.ProtectionDraining, func() bool {
				gets(t, cluster, client, 10)
				return gets(t, cluster, client, 20)[0] == 0
			})
		})
	})
	slices.Sort(tested)
	if all := slices.Sorted(slices.Values(surecall.Protections())); !slices.Equal(tested, all) {
		t.Errorf("tested %q: want %q", tested, all)
	}
}

func switchesOff(t *testing.T, client *surecall.Client, events *log, p surecall.Protection, acts func() bool) {
	if !acts() {
		t.Error("it does not act at all")
	}
	for _, off := range []surecall.Protection{p, surecall.ProtectionAll} {
		update(t, client, surecall.WithDisabled(off))
		if acts() {
			t.Errorf("with %q off, it acts still", off)
		}
		if !slices.Contains(client.Disabled(), p) {
			t.Errorf("off: %q", client.Disabled())
		}
		update(t, client, surecall.WithDisabled())
		if !acts() {
			t.Errorf("after %q was off, it does not act again", off)
		}
	}
	var told []bool
	for _, e := range eventsOf[event.ProtectionSwitched](events) {
		if e.Protection == string(p) {
			told = append(told, e.Off)
		}
		if e.By != "code" || e.Service != surecalltest.Service {
			t.Errorf("told %+v", e)
		}
	}
	if !slices.Equal(told, []bool{true, false, true, false}) {
		t.Errorf("told of it: %v: want each switch once", told)
	}
}

func update(t *testing.T, client *surecall.Client, opts ...surecall.LiveOption) {
	t.Helper()
	if err := client.Update(opts...); err != nil {
		t.Fatal(err)
	}
}

// What is switched off is so for a call that asks for it, too, and that is no error.
func TestDisabledWinsOverForCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithDisabled(surecall.ProtectionRetry, surecall.ProtectionCallDeadline))
		failAll(cluster, codes.Unavailable)
		_, err := unary(t.Context(), client, getMethod,
			surecall.ForCall(surecall.WithRetry(retry.Policy{MaxAttempts: 3}), surecall.WithHedge(retry.Hedge{}), surecall.WithCallDeadline(time.Second)))
		if n := cluster.Calls(); n != 1 || !strings.Contains(err.Error(), "fail") {
			t.Errorf("%d attempts, %v: want one", n, err)
		}
	})
}

// The environment can switch off too, and the code cannot switch on what it has switched
// off. A name that nobody knows is told of and does no harm.
func TestDisabledByEnvironment(t *testing.T) {
	t.Setenv("SURECALL_DISABLE", " Retry, breker ,,hedge")
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		client := ready(t, cluster, events.option(), surecall.WithDisabled("hedge", "cache"))
		update(t, client, surecall.WithDisabled())
		want := []event.ProtectionSwitched{
			{Protection: "retry", Off: true, By: "environment"},
			{Protection: "hedge", Off: true, By: "code, environment"},
			{Protection: "cache", Off: true, By: "code"},
			{Protection: "cache", By: "code"},
		}
		got := eventsOf[event.ProtectionSwitched](events)
		for n := range got {
			got[n].Service = ""
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %+v: want %+v", got, want)
		}
		if off := client.Disabled(); !slices.Equal(off, []surecall.Protection{"retry", "hedge"}) {
			t.Errorf("off: %q", off)
		}
		warned := eventsOf[event.ConfigWarning](events)
		if len(warned) != 1 || !strings.Contains(warned[0].What, `SURECALL_DISABLE: protection "breker": want one of ["breaker" `) {
			t.Errorf("warned %+v", warned)
		}
	})
}

func TestWithDisabledUnknown(t *testing.T) {
	_, err := surecall.NewClient("static:///a:1", surecall.WithInsecure(), surecall.WithDisabled("breaker", "retries"))
	if err == nil || !strings.Contains(err.Error(), `WithDisabled: protection "retries": want one of`) || strings.Contains(err.Error(), `protection "breaker"`) {
		t.Errorf("error %v", err)
	}
}

// While it is off nobody is told of health, and what is heard meanwhile is known later.
func TestHealthIsHeardWhileOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithDisabled(surecall.ProtectionHealthWatch))
		cluster.Instance(0).Serving(false)
		cluster.Instance(1).Serving(false)
		synctest.Wait()
		cluster.Instance(1).Serving(true)
		synctest.Wait()
		if n := gets(t, cluster, client, 20); n[0] == 0 {
			t.Error("off, it is heeded")
		}
		update(t, client, surecall.WithDisabled())
		if n := gets(t, cluster, client, 20); n[0] != 0 {
			t.Errorf("on again, %d calls to one that has said NOT_SERVING meanwhile", n[0])
		}
	})
}
