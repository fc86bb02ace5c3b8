package surecall_test

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/status"
	"github.com/surecall/surecall/surecalltest"
)

// shown returns what the status tells of one method.
func shown(t *testing.T, client *surecall.Client, name string) status.Method {
	t.Helper()
	for _, m := range client.Status().Methods {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no method %q", name)
	return status.Method{}
}

// What a status counts adds up with what the callers saw and the instances were sent.
func TestStatusAddsUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
			surecall.ForMethod(getMethod, surecall.WithCache(surecall.CachePolicy{})),
			surecall.ForMethod(placeMethod, surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: 50})))
		for _, i := range cluster.Instances() {
			i.FailSome(0.2, codes.Unavailable)
		}
		var (
			mu    sync.Mutex
			calls = map[string]map[string]uint64{}
			all   sync.WaitGroup
		)
		for _, method := range []string{getMethod, cancelMethod, placeMethod} {
			calls[method] = map[string]uint64{}
			for range 100 {
				all.Go(func() {
					_, err := unary(t.Context(), client, method)
					mu.Lock()
					defer mu.Unlock()
					calls[method][surecall.CodeName(err)]++
				})
			}
		}
		all.Wait()
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			s, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "1"})
			for err == nil {
				_, err = s.Recv()
				cancel()
			}
			cancel()
		}
		attempts := uint64(0)
		for name, want := range calls {
			m := shown(t, client, name)
			if !maps.Equal(m.Calls, want) {
				t.Errorf("%s: %v: want %v", name, m.Calls, want)
			}
			attempts += m.Attempts
		}
		watch := shown(t, client, watchMethod)
		if attempts += watch.Attempts; attempts != uint64(cluster.Calls()) {
			t.Errorf("%d attempts: the instances were sent %d", attempts, cluster.Calls())
		}
		get, cancel, place := shown(t, client, getMethod), shown(t, client, cancelMethod), shown(t, client, placeMethod)
		if get.Attempts+get.SecondBest["fresh cache"] < 100 || cancel.Attempts != 100+cancel.Retries["UNAVAILABLE"] || cancel.Retries["UNAVAILABLE"] == 0 {
			t.Errorf("%d attempts of 100 calls, retries %v: want the sum", cancel.Attempts, cancel.Retries)
		}
		if place.Rejected["rate limit"] < 50 || place.Attempts+place.Rejected["rate limit"] != 100 || place.Denied["not idempotent"] == 0 {
			t.Errorf("%+v: want half of 100 rejected, and denied retries", place)
		}
		if s := client.Status(); s.InFlight != 0 || len(s.BadCalls) == 0 || s.Budget.Tokens > s.Budget.Capacity || len(s.Limits) == 0 || s.Limits[0].Limit != 1024 {
			t.Errorf("%+v: want nothing in flight, bad calls, a budget and the client's limit", s)
		}
	})
}

// The status tells of instances, their states and how they came to them, and can be encoded.
func TestStatusOfInstances(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithServiceBreaker(breaker.ServicePolicy{}))
		get(t, client)
		cluster.Instance(1).Kill()
		synctest.Wait()
		s := client.Status()
		if len(s.Instances) != 3 || !s.Instances[0].Eligible || s.Instances[1].State != "failed" || s.Instances[1].Why == "" {
			t.Errorf("%+v: want the second failed, and why", s.Instances)
		}
		if s.Service != "orders" || !s.Source.Trusted || s.Source.Instances != 3 || s.ServiceBreaker == nil || s.ServiceBreaker.State != "closed" {
			t.Errorf("%+v: want its service, source and breaker", s)
		}
		if len(s.Events) == 0 || s.Events[0].Instance != cluster.Instance(1).ID() || s.Events[0].Kind != "instance_changed" {
			t.Errorf("%+v: want the newest event first, of the second instance", s.Events)
		}
		failed := uint64(0)
		for _, x := range s.Transitions {
			if x.Of == "instance" && x.To == "failed" {
				failed = x.Count
			}
		}
		if failed == 0 {
			t.Errorf("%+v: want that one went to failed", s.Transitions)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
	})
}

// Neither names made up without end nor events make the status grow for ever.
func TestStatusIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		const names = 5000
		for n := range names {
			_ = client.Invoke(t.Context(), "/made.Up/M"+strconv.Itoa(n), &orders.GetRequest{}, &orders.Order{})
		}
		for range surecall.RecordedEvents {
			cluster.Instance(0).Serving(false)
			get(t, client)
			cluster.Instance(0).Serving(true)
			get(t, client)
		}
		s := client.Status()
		var calls uint64
		for _, m := range s.Methods {
			for _, n := range m.Calls {
				calls += n
			}
		}
		if want := uint64(names + 2*surecall.RecordedEvents); calls != want {
			t.Errorf("%d calls counted, want %d", calls, want)
		}
		if len(s.Methods) > 4097 || len(s.Events) != surecall.RecordedEvents {
			t.Errorf("%d methods, %d events: want at most 4097 and %d", len(s.Methods), len(s.Events), surecall.RecordedEvents)
		}
	})
}

// A breaker in whose window nothing happened is not one that is off.
func TestStatusTellsAnIdleBreakerFromNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		if b := client.Status().Instances[0].Breaker; b == nil || b.State != "closed" {
			t.Errorf("%+v: want one that is closed", b)
		}
		if err := client.Update(surecall.WithoutBreaker()); err != nil {
			t.Fatal(err)
		}
		if b := client.Status().Instances[0].Breaker; b != nil {
			t.Errorf("%+v: want none", b)
		}
	})
}

// What is kept of bad calls is put into words once, and each status has its own: a call that
// takes another's place is seen, and nobody sees what a reader made of it.
func TestStatusOfBadCallsIsOfNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithoutRetry(), surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
		cluster.Instance(0).Fail(codes.Unavailable)
		for n := range surecall.RecordedCalls + 3 {
			method := placeMethod
			if n%2 == 0 {
				method = getMethod
			}
			_, _ = unary(t.Context(), client, method)
			advance(time.Millisecond)
			for range 2 {
				all, kept := client.Status().BadCalls, client.BadCalls()
				if len(all) != len(kept) || len(all) != min(n+1, surecall.RecordedCalls) {
					t.Fatalf("%d calls, %d kept: want %d", len(all), len(kept), min(n+1, surecall.RecordedCalls))
				}
				for i, b := range all {
					if b.Method != kept[i].Call.Method || !b.At.Equal(kept[i].Call.Began.Add(kept[i].Call.Took)) || b.Attempts[0].Number != 1 {
						t.Fatalf("call %d of %d is %+v: want %v", i, n+1, b, kept[i])
					}
				}
				all[0].Method, all[0].Attempts[0].Number = "changed", 7
			}
		}
	})
}

// BenchmarkStatus is what a look at a client costs that has failed as many calls as it keeps.
func BenchmarkStatus(b *testing.B) {
	cluster := surecalltest.NewCluster(b, 3)
	client := cluster.Client(surecall.WithoutServiceBreaker(), surecall.WithoutBreaker())
	for _, i := range cluster.Instances() {
		i.Fail(codes.Unavailable)
	}
	for range 2 * surecall.RecordedCalls {
		_, _ = unary(b.Context(), client, getMethod)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(client.Status().BadCalls) != surecall.RecordedCalls {
			b.Fatal("not all bad calls")
		}
	}
}
