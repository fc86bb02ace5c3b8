package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/status"
)

const (
	getMethod    = "/orders.v1.Orders/Get"
	cancelMethod = "/orders.v1.Orders/Cancel"
	placeMethod  = "/orders.v1.Orders/Place"
)

// odd are clients in the test's process that have what examples/client has not: limits,
// hedges, fallbacks, notifications, documents, protections switched off. Each is of a
// service of its own, and called.
type odd struct {
	registry *memory.Registry
	calling  sync.WaitGroup
	ended    context.Context

	mu      sync.Mutex
	clients []*surecall.Client
}

// startOdd returns none yet, and the address of their metrics.
func startOdd(t *testing.T) (o *odd, address string) {
	t.Helper()
	o = &odd{registry: memory.New()}
	ended, end := context.WithCancel(context.Background())
	o.ended = ended
	page := httptest.NewServer(status.Handler(o.read))
	t.Cleanup(func() {
		page.Close()
		end()
		o.calling.Wait()
		for _, c := range o.clients {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return o, strings.TrimPrefix(page.URL, "http://")
}

func (o *odd) read() (all []status.Status) {
	o.mu.Lock()
	clients := slices.Clone(o.clients)
	o.mu.Unlock()
	for _, c := range clients {
		all = append(all, c.Status())
	}
	return all
}

// add makes a client of a service that the servers are, and has it make calls.
func (o *odd) add(t *testing.T, service string, servers []*server, call func(context.Context, *surecall.Client, orders.OrdersClient), opts ...surecall.Option) {
	t.Helper()
	var all []discovery.Instance
	for _, s := range servers {
		all = append(all, discovery.Instance{Address: s.address})
	}
	o.registry.Set(service, all...)
	opts = append([]surecall.Option{surecall.WithInsecure(), surecall.WithSource(o.registry)}, opts...)
	client, err := surecall.NewClient("memory:///"+service, opts...)
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	o.clients = append(o.clients, client)
	o.mu.Unlock()
	o.calling.Go(func() {
		stub := orders.NewOrdersClient(client)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		// On a busy machine calls take long, and would pile up until there is no time for anything else.
		slots := make(chan struct{}, 20)
		for o.ended.Err() == nil {
			select {
			case slots <- struct{}{}:
				o.calling.Go(func() {
					defer func() { <-slots }()
					call(o.ended, client, stub)
				})
			default:
			}
			select {
			case <-tick.C:
			case <-o.ended.Done():
			}
		}
	})
}

func get(ctx context.Context, _ *surecall.Client, stub orders.OrdersClient) {
	_, _ = stub.Get(ctx, &orders.GetRequest{Id: "1"}) // counted by the client
}

// startAll adds the clients that something is odd about. That nothing is odd about the
// service "slow" is up to the test: it was added before.
func (o *odd) startAll(t *testing.T, fine []*server) {
	t.Helper()
	halfSlow := []*server{serve(t), serve(t)}
	for _, s := range halfSlow {
		s.slow.Store(50)
		s.delay.Store(int64(60 * time.Millisecond))
	}
	o.add(t, "hedged", halfSlow, get, surecall.ForMethod(getMethod, surecall.WithHedge(retry.Hedge{Delay: 5 * time.Millisecond})))

	allSlow := serve(t)
	allSlow.slow.Store(100)
	allSlow.delay.Store(int64(150 * time.Millisecond))
	o.add(t, "limited", []*server{allSlow}, func(ctx context.Context, _ *surecall.Client, stub orders.OrdersClient) {
		get(ctx, nil, stub)
		_, _ = stub.Cancel(ctx, &orders.CancelRequest{Id: "1"})
		_, _ = stub.Place(ctx, &orders.PlaceRequest{Item: "a book"})
	},
		surecall.ForMethod(getMethod, surecall.WithRateLimit(limit.Rate{PerSecond: 1})),
		surecall.ForMethod(cancelMethod, surecall.WithRateLimit(limit.Rate{PerSecond: 2, Wait: true})),
		surecall.ForMethod(placeMethod, surecall.WithConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 10}})))

	o.add(t, "gone", nil, get, surecall.ForMethod(getMethod, surecall.WithFallback(
		func(context.Context, *orders.GetRequest, error) (*orders.Order, error) { return &orders.Order{}, nil })))

	o.add(t, "notified", nil, func(ctx context.Context, c *surecall.Client, stub orders.OrdersClient) {
		_ = surecall.Notify(ctx, c, stub.Cancel, &orders.CancelRequest{Id: "1"}) // counted by the client
	})

	failsPlace := serve(t)
	failsPlace.failingPlace.Store(100)
	o.add(t, "half-broken", []*server{failsPlace}, func(ctx context.Context, _ *surecall.Client, stub orders.OrdersClient) {
		get(ctx, nil, stub)
		_, _ = stub.Place(ctx, &orders.PlaceRequest{Item: "a book"})
	}, surecall.ForMethod(placeMethod, surecall.WithMethodBreaker(breaker.MethodPolicy{})))

	o.add(t, "forgotten", fine, get, surecall.WithSource(old{o.registry}))

	document := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(document, []byte(`{"retry": {"max_attempts": "many"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	o.add(t, "steered", fine, get, surecall.WithDisabled(surecall.ProtectionBreaker), surecall.WithCallerPolicy(surecall.PolicyFile(document)))

	o.add(t, "watched", fine, get, surecall.WithShadow())
}

// old is a source that had its last answer long ago.
type old struct{ *memory.Registry }

func (old) Answered(discovery.Query) (time.Time, bool) {
	return time.Now().Add(-20 * time.Minute), true
}

// flap stops and starts the servers, one after the other, until done is closed.
func flap(t *testing.T, servers []*server, done *atomic.Bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; !done.Load(); i++ {
		s := servers[i%len(servers)]
		s.stop()
		<-tick.C
		s.start(t)
	}
}

// A scrape that one label spoils is lost as a whole: the real Prometheus takes all that a
// hostile registry can think of.
func TestPrometheusTakesHostileLabels(t *testing.T) {
	hostile := []string{"a\"b\\c\n", "NUL\x00", "\xff\xfe", "{}=,# TYPE x counter\r", strings.Repeat("long", 10_000), "", "\u2028\U0001F600"}
	var s status.Status
	for _, name := range hostile {
		s.Methods = append(s.Methods, status.Method{Name: name, Attempts: 1, Calls: map[string]uint64{name: 1}})
		s.Instances = append(s.Instances, status.Instance{ID: name}, status.Instance{ID: name})
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", status.PrometheusContentType)
		if err := status.WritePrometheus(w, []status.Status{s, s}, true); err != nil {
			t.Error(err)
		}
	}))
	defer page.Close()
	p := startPrometheus(t, "", target{job: "hostile", address: strings.TrimPrefix(page.URL, "http://")})
	await(t, "all series are there", func() string {
		for expr, want := range map[string]string{
			"up":                                    "1",
			"count(surecall_client_attempts_total)": "14",
			"count(surecall_client_instance_eligible)":                   "14",
			`count(surecall_client_attempts_total{rpc_method=~"NUL.+"})`: "2",
		} {
			if samples, err := p.query(expr); err != nil || len(samples) != 1 || samples[0].Value[1] != want {
				return fmt.Sprintf("%s: %v, %v; want %s", expr, samples, err, want)
			}
		}
		return ""
	})
}

// promtool has rules for names and help texts, too.
func TestPromtoolLikesTheMetrics(t *testing.T) {
	promtool := toolPath(t)
	s := serve(t)
	o, address := startOdd(t)
	o.startAll(t, []*server{s})
	await(t, "calls were made", func() string {
		for _, c := range o.read() {
			if len(c.Methods) == 0 {
				return c.Service + ": none"
			}
		}
		return ""
	})
	resp, err := http.Get("http://" + address + "/metrics?instances=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = resp.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
