package surecall_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// of returns what the report says of a method.
func of(t *testing.T, client *surecall.Client, method string) surecall.ShadowMethod {
	t.Helper()
	for _, m := range client.Shadow().Methods {
		if m.Method == method {
			return m
		}
	}
	t.Fatalf("nothing of %s in\n%s", method, client.Shadow())
	return surecall.ShadowMethod{}
}

// times makes n calls, one by one, whatever becomes of them.
func times(ctx context.Context, client *surecall.Client, method string, n int) {
	for range n {
		_, _ = unary(ctx, client, method)
	}
}

// What would have been decided is counted, each under its reason.
func TestShadowReport(t *testing.T) {
	const ms = time.Millisecond
	one := func(set func(*surecalltest.Instance)) func(*surecalltest.Cluster) {
		return func(c *surecalltest.Cluster) { set(c.Instance(0)) }
	}
	for _, test := range []struct {
		name    string
		options []surecall.Option
		fault   func(*surecalltest.Cluster)
		method  string
		calls   int
		want    surecall.ShadowMethod // 30 calls but for what is said
	}{
		{"retries", nil, one(func(i *surecalltest.Instance) { i.Fail(codes.Unavailable) }), getMethod, 30,
			surecall.ShadowMethod{Failed: 10, Saved: 10, WouldRetry: map[string]uint64{"UNAVAILABLE": 10}}},
		{"not idempotent", nil, one(func(i *surecalltest.Instance) { i.Fail(codes.Unavailable) }), placeMethod, 30,
			surecall.ShadowMethod{Failed: 10, WouldDeny: map[event.Denial]uint64{event.NotIdempotent: 10}, NeedsIdempotency: true, Unsaved: 10}},
		{"the budget", []surecall.Option{oneToken()}, one(func(i *surecalltest.Instance) { i.Fail(codes.Unavailable) }), getMethod, 30,
			surecall.ShadowMethod{Failed: 10, Saved: 1, WouldRetry: map[string]uint64{"UNAVAILABLE": 1}, WouldDeny: map[event.Denial]uint64{event.BudgetEmpty: 9}}},
		{"an answer", nil, one(func(i *surecalltest.Instance) { i.Fail(codes.NotFound) }), getMethod, 30,
			surecall.ShadowMethod{Failed: 10}},
		{"rate", []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: 10})}, nil, getMethod, 30,
			surecall.ShadowMethod{WouldReject: map[string]uint64{"rate limit": 20}}},
		{"rate, in turn", []surecall.Option{surecall.WithRateLimit(limit.Rate{PerSecond: 10, Wait: true, MaxWait: time.Minute})}, nil, getMethod, 30,
			surecall.ShadowMethod{WouldWait: 20}},
		{"attempt timeout", []surecall.Option{surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 50 * ms})}, one(func(i *surecalltest.Instance) { i.Delay(200 * ms) }), getMethod, 30,
			surecall.ShadowMethod{WouldRetry: map[string]uint64{"attempt timeout": 10}, WouldCut: 10}},
		{"attempt timeout, learned", nil, func(c *surecalltest.Cluster) {
			c.Instance(0).DelayFunc(func(_ string, call int64) time.Duration {
				if call > 20 {
					return 300 * ms
				}
				return ms
			})
		}, getMethod, 90, surecall.ShadowMethod{WouldRetry: map[string]uint64{"attempt timeout": 10}, WouldCut: 10}},
		{"hedge", []surecall.Option{surecall.WithHedge(retry.Hedge{Delay: 20 * ms})}, one(func(i *surecalltest.Instance) { i.Delay(100 * ms) }), getMethod, 30,
			surecall.ShadowMethod{WouldHedge: 10}},
		{"call deadline", []surecall.Option{surecall.WithCallDeadline(150 * ms), surecall.WithoutAttemptTimeout()}, one(func(i *surecalltest.Instance) { i.Delay(200 * ms) }), getMethod, 30,
			surecall.ShadowMethod{WouldExpire: 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, 3), &log{}
				client := ready(t, cluster, append(test.options, surecall.WithShadow(), events.option())...)
				if test.fault != nil {
					test.fault(cluster)
				}
				times(t.Context(), client, test.method, test.calls)
				test.want.Method, test.want.Calls = test.method, uint64(test.calls)
				if got := of(t, client, test.method); fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("got  %+v\nwant %+v", got, test.want)
				}
				if n := len(denials(events)) + len(eventsOf[event.AttemptRetried](events)) + len(eventsOf[event.CallRejected](events)); n > 0 {
					t.Errorf("%d events of what was not done", n)
				}
			})
		})
	}
}

// Limits count who would have been in flight: of calls at the same time, as many as there is
// room for would have passed.
func TestShadowReportsConcurrency(t *testing.T) {
	for name, test := range map[string]struct {
		limit    surecall.Option
		rejected uint64
	}{
		"client":   {surecall.WithConcurrency(limit.Concurrency{Limit: 4}), 8},
		"instance": {surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 2}), 8},
		"streams":  {surecall.WithStreamConcurrency(limit.Concurrency{Limit: 4}), 8},
		"queue":    {surecall.WithConcurrency(limit.Concurrency{Limit: 4, Queue: limit.Queue{MaxWaiting: 100}}), 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 2)
				client := ready(t, cluster, surecall.WithShadow(), test.limit)
				ctx, cancel := context.WithCancel(t.Context())
				for range 2 { // what was over does not count
					release := holdAll(cluster)
					var calls sync.WaitGroup
					for range 12 {
						calls.Go(func() {
							if name == "streams" {
								if stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{}); err == nil {
									_, _ = stream.Recv()
									cancelled, end := context.WithTimeout(ctx, time.Second)
									<-cancelled.Done()
									end()
								}
								return
							}
							_, _ = unary(ctx, client, getMethod)
						})
						synctest.Wait()
					}
					release()
					if name == "streams" {
						break // which stay open until ctx ends
					}
					calls.Wait()
				}
				cancel()
				synctest.Wait()
				var rejected uint64
				for _, m := range client.Shadow().Methods {
					rejected += m.WouldReject["concurrency limit"]
				}
				want := test.rejected
				if name != "streams" {
					want *= 2
				}
				if rejected != want {
					t.Errorf("%d would have been rejected: want %d\n%s", rejected, want, client.Shadow())
				}
				advance(2 * time.Second)
			})
		})
	}
}

// An instance that would have been ejected goes on being called, and the report tells how
// often.
func TestShadowReportsInstances(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 4), &log{}
		client := ready(t, cluster, surecall.WithShadow(), events.option())
		teach(t, cluster, client, 60, 5*time.Millisecond)
		cluster.Instance(0).Fail(codes.Unavailable)
		cluster.Instance(1).Serving(false)
		before := cluster.Instance(0).Calls()
		load(t, client, getMethod, 5*time.Millisecond, time.Second)
		calls := cluster.Instance(0).Calls() - before
		cluster.Instance(2).Hang()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var hanging sync.WaitGroup
		for range 8 {
			hanging.Go(func() { _, _ = unary(ctx, client, placeMethod) })
		}
		hanging.Wait()
		report := client.Shadow()
		failing, ill, hangs, well := report.Instances[0], report.Instances[1], report.Instances[2], report.Instances[3]
		switch {
		case failing.Ejections == 0, failing.Now != event.Ejected, int(failing.Avoided) < calls/2:
			t.Errorf("the one that fails: %+v, of %d calls", failing, calls)
		case ill.Now != event.NotServing, ill.Avoided == 0:
			t.Errorf("the one that does not serve: %+v", ill)
		case hangs.Ejections != 1, hangs.Now != event.Ejected:
			t.Errorf("the one that hangs: %+v", hangs)
		case well.Ejections+well.Avoided+well.Full != 0, well.Now != event.Eligible:
			t.Errorf("the one that is well: %+v", well)
		}
		if unsaved := of(t, client, placeMethod).Unsaved; unsaved == 0 {
			t.Errorf("calls that waited on the one that hangs, and may have been executed: %+v", of(t, client, placeMethod))
		}
		for _, c := range eventsOf[event.InstanceChanged](events) {
			if c.To == event.Ejected || c.To == event.NotServing || c.To == event.Suspect {
				t.Errorf("told %+v: want what would be", c)
			}
		}
		would := map[string]bool{}
		for _, w := range eventsOf[event.InstanceWouldChange](events) {
			would[w.To] = true
		}
		for _, to := range []event.State{event.NotServing, event.Ejected, "open"} {
			if !would[string(to)] {
				t.Errorf("told of %v: want %q too", would, to)
			}
		}
		cluster.Instance(2).Resume()
	})
}

// Streams are counted as calls; what follows a first message is no retry.
func TestShadowReportsStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithShadow())
		cluster.Instance(0).Fail(codes.Unavailable)
		for range 10 {
			stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = stream.Recv(); err == nil {
				cluster.Instance(1).Kill()
				_, _ = stream.Recv()
				cluster.Instance(1).Start()
				advance(time.Second)
			}
		}
		got := of(t, client, watchMethod)
		if got.Calls != 10 || got.Failed != 10 || got.Saved != 5 {
			t.Errorf("%+v: want 5 that would have been opened again, and 5 that had begun", got)
		}
	})
}

// It can be switched on and off under load, and each time counts anew.
func TestShadowSwitched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		if r := client.Shadow(); !r.Since.IsZero() || r.String() != "shadow mode was never on" {
			t.Errorf("before: %+v", r)
		}
		cluster.Instance(0).Fail(codes.Unavailable)
		var calls sync.WaitGroup
		calls.Go(func() { load(t, client, getMethod, time.Millisecond, time.Second) })
		for range 10 {
			update(t, client, surecall.WithShadow())
			advance(50 * time.Millisecond)
			update(t, client, surecall.WithCallDeadline(time.Second))
			if r := client.Shadow(); !r.On || time.Since(r.Since) != 50*time.Millisecond || r.Calls < 49 || r.Calls > 51 {
				t.Errorf("on: %+v", r)
			}
			update(t, client, surecall.WithoutShadow())
			advance(50 * time.Millisecond)
			if r := client.Shadow(); r.On || r.Calls < 49 || r.Calls > 51 {
				t.Errorf("off: %+v", r)
			}
		}
		calls.Wait()
		wantAll(t, load(t, client, getMethod, time.Millisecond, 100*time.Millisecond), 50*time.Millisecond)
	})
}

// Names that are made up do not make the report grow for ever.
func TestShadowIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithShadow())
		for n := range 4096 + 50 {
			_ = client.Invoke(t.Context(), fmt.Sprintf("/x.Y/M%d", n), &orders.GetRequest{}, &orders.Order{})
		}
		r := client.Shadow()
		if n := len(r.Methods); n != 4097 || r.Calls != 4096+50 || r.Methods[0].Method != "(others)" || r.Methods[0].Calls != 50 {
			t.Errorf("%d methods, %d calls, first %+v", n, r.Calls, r.Methods[0])
		}
	})
}

// With protections off, nothing of them is in the report.
func TestShadowWithDisabled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithShadow(), surecall.WithDisabled("retry", "breaker"))
		cluster.Instance(0).Fail(codes.Unavailable)
		times(t.Context(), client, getMethod, 20)
		if m, i := of(t, client, getMethod), client.Shadow().Instances[0]; m.Failed != 10 || len(m.WouldRetry) > 0 || i.Ejections > 0 {
			t.Errorf("%+v, %+v", m, i)
		}
	})
}

func TestShadowReportString(t *testing.T) {
	report := surecall.ShadowReport{
		Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Calls: 30,
		Methods: []surecall.ShadowMethod{
			{Method: "/a.B/C", Calls: 20, Failed: 5, Unsaved: 3, NeedsIdempotency: true, WouldDeny: map[event.Denial]uint64{event.NotIdempotent: 3, event.NoTimeLeft: 2}},
			{Method: "/a.B/D", Calls: 10, Failed: 1, Saved: 1, WouldRetry: map[string]uint64{"hang": 1}},
		},
		Instances: []surecall.ShadowInstance{{ID: "a", Address: "h:1", Ejections: 2, Avoided: 7, Now: event.Ejected, Why: "its token=secret is bad"}},
	}
	want := `shadow mode since 2026-01-02 03:04:05: 30 calls

method  calls  failed  of them saved  would retry  would deny                         would reject  would hedge  would wait  would expire
/a.B/C  20     5       0              0            3 not idempotent, 2 no time left   0             0            0           0
/a.B/D  10     1       1              1 hang       0                                  0             0            0           0

instance  address  would eject  would avoid  full  would be now
a         h:1      2            7            0     ejected: its token=*** is bad

need an idempotency level, if they may be executed twice:
  /a.B/C: 3 calls would have had another attempt
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if got := report.String(); squeeze(got) != squeeze(want) {
		t.Errorf("got\n%s", got)
	}
}

// The breakers of the service and of a method run dry: they tell so, and what they would
// have rejected is counted.
func TestShadowBreakersRunDry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, surecall.WithShadow(), surecall.WithMethodBreaker(breaker.MethodPolicy{}), events.option())
		failAll(cluster, codes.Internal)
		load(t, client, placeMethod, 10*time.Millisecond, time.Second)
		failAll(cluster, codes.Unavailable)
		load(t, client, getMethod, 10*time.Millisecond, 2*time.Second)
		if n := of(t, client, placeMethod).WouldReject["method down"]; n == 0 {
			t.Errorf("nothing for the method's breaker: %s", client.Shadow())
		}
		if n := of(t, client, getMethod).WouldReject["service down"]; n == 0 {
			t.Errorf("nothing for the service's breaker: %s", client.Shadow())
		}
		service, method := eventsOf[event.ServiceBreakerChanged](events), eventsOf[event.MethodBreakerChanged](events)
		if len(service) == 0 || !service[0].DryRun || len(method) == 0 || !method[0].DryRun {
			t.Errorf("told %+v and %+v: want that it only would be", service, method)
		}
	})
}

// The connection of an instance that hangs for long is kept, as gRPC would.
func TestShadowKeepsConnections(t *testing.T) {
	for shadow, want := range map[bool]bool{true: true, false: false} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 3)
			client := ready(t, cluster)
			if shadow {
				update(t, client, surecall.WithShadow())
			}
			teach(t, cluster, client, 60, 5*time.Millisecond)
			cluster.Instance(0).Hang()
			for range 6 {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				times(ctx, client, getMethod, 1)
				cancel()
			}
			advance(10 * time.Second)
			if kept := cluster.Instance(0).Dials() == 1; kept != want {
				t.Errorf("in shadow mode: %v, kept: %v", shadow, kept)
			}
			cluster.Instance(0).Resume()
		})
	}
}
