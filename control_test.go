package surecall_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// An instance that was ejected by hand gets no calls until that is ended by hand, through
// Updates and new lives; one whose breaker is disabled is not ejected for failures.
func TestSetInstanceMode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), inTurn())
		first := cluster.Instance(0)
		set := func(m breaker.Mode) {
			t.Helper()
			if err := client.SetInstanceMode(first.ID(), m); err != nil {
				t.Fatal(err)
			}
		}
		calls := func() int {
			before := first.Calls()
			load(t, client, getMethod, time.Millisecond, 300*time.Millisecond)
			return first.Calls() - before
		}
		set(breaker.ForcedOpen)
		if n := calls(); n != 0 || client.Instances()[0].State != event.Ejected || client.Instances()[0].Mode != breaker.ForcedOpen {
			t.Errorf("%d calls, %+v: want it ejected", n, client.Instances()[0])
		}
		if err := client.Update(surecall.WithBreaker(breaker.Policy{FailureRatio: 0.4})); err != nil {
			t.Fatal(err)
		}
		advance(5 * time.Minute)
		if n := calls(); n != 0 {
			t.Errorf("%d calls after an Update and 5 minutes: want none", n)
		}
		set(breaker.Automatic)
		advance(time.Minute) // its share rises slowly
		if n := calls(); n != 100 {
			t.Errorf("%d calls of 300: want its share", n)
		}
		set(breaker.Disabled)
		first.Fail(codes.Unavailable)
		if n := calls(); n < 90 || client.Instances()[0].State != event.Eligible {
			t.Errorf("%d calls, %+v: want nothing to eject it", n, client.Instances()[0])
		}
		set(breaker.Automatic)
		if n := calls(); n > 20 || client.Instances()[0].State != event.Ejected {
			t.Errorf("%d calls, %+v: want its breaker to eject it", n, client.Instances()[0])
		}
		if err := client.SetInstanceMode("orders-9", breaker.ForcedOpen); err == nil || !strings.Contains(err.Error(), `"orders-9": want the ID of an instance: none of the 3 known has it`) {
			t.Errorf("error %v: want the unknown ID told", err)
		}
	})
}

// The service breaker by hand: open for every call, with no trials; disabled; and as it was.
func TestSetServiceMode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutRetry())
		set := func(m breaker.Mode) {
			t.Helper()
			if err := client.SetServiceMode(m); err != nil {
				t.Fatal(err)
			}
		}
		set(breaker.ForcedOpen)
		for range 100 {
			_, err := unary(t.Context(), client, getMethod)
			wantRejection(t, err, surecall.ErrServiceDown, codes.Unavailable, `service "orders" is down`)
			advance(10 * time.Millisecond)
		}
		if err := client.Update(surecall.WithServiceBreaker(breaker.ServicePolicy{MinFailures: 5})); err != nil {
			t.Fatal(err)
		}
		if n := let(t.Context(), client, getMethod, 10); n != 0 || cluster.Calls() != 0 {
			t.Errorf("%d passed after an Update, and %d were sent: want none", n, cluster.Calls())
		}
		set(breaker.Automatic)
		if n := let(t.Context(), client, getMethod, 10); n != 10 {
			t.Errorf("%d of 10 passed: want all", n)
		}
		set(breaker.Disabled)
		failAll(cluster, codes.Unavailable)
		for range 500 {
			if let(t.Context(), client, getMethod, 1) != 1 {
				t.Fatal("rejected: want the breaker disabled")
			}
			advance(10 * time.Millisecond)
		}
		if told := eventsOf[event.ServiceBreakerChanged](events); len(told) < 2 || !told[0].Open || told[len(told)-1].Open {
			t.Errorf("events %+v: want the opening and the closing by hand told", told)
		}
		if err := client.Update(surecall.WithoutServiceBreaker()); err != nil {
			t.Fatal(err)
		}
		if err := client.SetServiceMode(breaker.ForcedOpen); err == nil || !strings.Contains(err.Error(), `SetServiceMode forced open: the client of "orders" has no service breaker`) {
			t.Errorf("error %v: want it told that there is none", err)
		}
	})
}

// A method breaker by hand stands beside those of other methods, and outlives an Update.
func TestSetMethodMode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithoutRetry(), surecall.ForMethod("/orders.v1.Orders/P*", surecall.WithMethodBreaker(breaker.MethodPolicy{})))
		set := func(m breaker.Mode) {
			t.Helper()
			if err := client.SetMethodMode(placeMethod, m); err != nil {
				t.Fatal(err)
			}
		}
		set(breaker.ForcedOpen) // before its first call
		advance(time.Hour)
		_, err := unary(t.Context(), client, placeMethod)
		if r := wantRejection(t, err, surecall.ErrMethodDown, codes.Unavailable); r.RetryAfter != 0 {
			t.Errorf("retry after %v: want it unknown", r.RetryAfter)
		}
		get(t, client)
		if err := client.Update(surecall.ForMethod(placeMethod, surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 9}))); err != nil {
			t.Fatal(err)
		}
		if n := let(t.Context(), client, placeMethod, 10); n != 0 {
			t.Errorf("%d passed after an Update: want none", n)
		}
		set(breaker.Disabled)
		failAll(cluster, codes.Internal)
		if n := let(t.Context(), client, placeMethod, 50); n != 50 {
			t.Errorf("%d of 50 passed: want all, it is disabled", n)
		}
		set(breaker.Automatic)
		if n := let(t.Context(), client, placeMethod, 50); n != 9 {
			t.Errorf("%d of 50 passed: want the 9 that it takes", n)
		}
		set(breaker.Automatic)
		if n := let(t.Context(), client, placeMethod, 50); n != 9 {
			t.Errorf("%d of 50 passed: want it to have begun anew", n)
		}
		for method, want := range map[string]string{
			getMethod: "want WithMethodBreaker", "/x.Y/Z": "neither linked nor was it called", "": "want a full method",
			"orders.v1.Orders/Get": "want a full method", "/orders.v1.Orders/*": "want a full method", "/orders.v1.Orders/Gett": "neither linked",
		} {
			if err := client.SetMethodMode(method, breaker.ForcedOpen); err == nil || !strings.Contains(err.Error(), method) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v: want %q", method, err, want)
			}
		}
	})
}
