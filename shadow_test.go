package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// roundRobin returns a connection of plain gRPC to the cluster, with round_robin. It redials as
// surecall does.
func roundRobin(t *testing.T, c *surecalltest.Cluster) *grpc.ClientConn {
	conn, err := grpc.NewClient("cluster:///"+surecalltest.Service,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(c.Dial),
		grpc.WithResolvers(clusterBuilder{c}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.3, Jitter: 0.2, MaxDelay: 3 * time.Second}, MinConnectTimeout: 2 * time.Second}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	conn.Connect()
	return conn
}

// clusterBuilder has gRPC believe the registry of a cluster.
type clusterBuilder struct{ *surecalltest.Cluster }

func (clusterBuilder) Scheme() string { return "cluster" }

func (b clusterBuilder) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := clusterResolver{cancel, make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = b.Registry.Watch(ctx, discovery.Query{Service: surecalltest.Service}, func(s discovery.Snapshot) {
			if s.Err != nil {
				cc.ReportError(s.Err)
				return
			}
			var state resolver.State
			for _, i := range s.Instances {
				state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: i.Address}}})
			}
			_ = cc.UpdateState(state)
		})
	}()
	return r, nil
}

type clusterResolver struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (clusterResolver) ResolveNow(resolver.ResolveNowOptions) {}
func (r clusterResolver) Close()                              { r.cancel(); <-r.done }

// seen is what callers saw of a phase, and instances: how often each of it.
type seen map[string]int

func (s seen) minus(o seen) (lines []string) {
	for _, what := range slices.Sorted(maps.Keys(s)) {
		if n := s[what] - o[what]; n > 0 {
			lines = append(lines, fmt.Sprintf("  %d × %s", n, what))
		}
	}
	return lines
}

// kinds leaves only the errors, and not how often or of which instance.
func (s seen) kinds() seen {
	kinds, instance := seen{}, regexp.MustCompile(`10\.0\.0\.\d`)
	for what := range s {
		if _, end, ok := strings.Cut(what, "after "); ok {
			end, _, _ = strings.Cut(end, ", header")
			end, _, _ = strings.Cut(end, ", trailer")
			kinds[instance.ReplaceAllString(end, "…")] = 1
		}
	}
	return kinds
}

// act is one phase of a script: something happens, and then calls are made.
type act struct {
	name string
	do   func(*surecalltest.Cluster)
	opts []grpc.CallOption
	free bool // the caller sets no deadline
	few  bool // calls take long
	lots bool // which calls meet what is drawn by lot: what can be met is the same
}

// acts is what may happen to a service of three instances, a fourth being one of package
// lifecycle.
func acts() []act {
	first := func(do func(i *surecalltest.Instance)) func(*surecalltest.Cluster) {
		return func(c *surecalltest.Cluster) { do(c.Instance(0)) }
	}
	each := func(do func(i *surecalltest.Instance)) func(*surecalltest.Cluster) {
		return func(c *surecalltest.Cluster) {
			for _, i := range c.Instances() {
				do(i)
			}
		}
	}
	waits := []grpc.CallOption{grpc.WaitForReady(true)}
	return []act{
		{name: "all is well"},
		{name: "one answers UNAVAILABLE", do: first(func(i *surecalltest.Instance) { i.Fail(codes.Unavailable) })},
		{name: "one answers INTERNAL", do: first(func(i *surecalltest.Instance) { i.Fail(codes.Internal) })},
		{name: "one sheds load", do: first(func(i *surecalltest.Instance) { i.Fail(codes.ResourceExhausted) })},
		{name: "all answer UNAVAILABLE", do: each(func(i *surecalltest.Instance) { i.Fail(codes.Unavailable) })},
		{name: "all are well again", do: each(func(i *surecalltest.Instance) { i.Fail(codes.OK) })},
		{name: "one is slow", do: first(func(i *surecalltest.Instance) { i.Delay(250 * time.Millisecond) })},
		{name: "longer than any deadline of ours", do: first(func(i *surecalltest.Instance) { i.Delay(8 * time.Second) }), free: true, few: true},
		{name: "one hangs", do: first(func(i *surecalltest.Instance) { i.Delay(0); i.Hang() }), few: true},
		{name: "it hangs still", few: true, opts: waits},
		{name: "it goes on", do: first((*surecalltest.Instance).Resume)},
		{name: "one says NOT_SERVING", do: first(func(i *surecalltest.Instance) { i.Serving(false) })},
		{name: "it serves", do: first(func(i *surecalltest.Instance) { i.Serving(true) })},
		{name: "one counts for ten", do: first(func(i *surecalltest.Instance) { i.Change(func(d *discovery.Instance) { d.Weight = 10 }) })},
		{name: "one is killed", do: first((*surecalltest.Instance).Kill)},
		{name: "it is back", do: first((*surecalltest.Instance).Start)},
		{name: "one is stopped", do: first((*surecalltest.Instance).Stop)},
		{name: "it is up again", do: first((*surecalltest.Instance).Start)},
		{name: "one executes and loses what it answers", do: first(func(i *surecalltest.Instance) { i.LoseAnswers(1) }), few: true, lots: true},
		{name: "it does so no more", do: first(func(i *surecalltest.Instance) { i.LoseAnswers(0) })},
		{name: "two are listed no more", do: func(c *surecalltest.Cluster) { c.Instance(0).Delist(); c.Instance(1).Delist() }},
		{name: "nobody is", do: (*surecalltest.Cluster).EmptyList},
		{name: "nobody is, and calls wait", opts: waits},
		{name: "all are", do: func(c *surecalltest.Cluster) { c.Instance(0).List(); c.Instance(1).List(); c.Relist() }},
		{name: "the registry does not answer", do: func(c *surecalltest.Cluster) { c.SourceDown(errors.New("no leader")) }},
		{name: "the registry answers", do: (*surecalltest.Cluster).SourceUp},
		{name: "one joins", do: func(c *surecalltest.Cluster) {
			c.AddLifecycle(lifecycle.Drain{Propagation: time.Minute, RefuseAtOnce: true})
		}},
		{name: "it leaves", do: func(c *surecalltest.Cluster) {
			go c.Instance(3).Leave()
			synctest.Wait()
			c.Instance(3).List() // the registry is slow
		}},
		{name: "it has left", do: func(c *surecalltest.Cluster) { advance(5 * time.Minute); c.Instance(3).Delist() }},
		{name: "all are killed", do: each((*surecalltest.Instance).Kill)},
		{name: "all are killed, and calls wait", opts: waits, lots: true},
		{name: "all are back", do: func(c *surecalltest.Cluster) {
			for _, i := range c.Instances()[:3] {
				i.Start()
			}
		}},
	}
}

// calls of each phase: divisible by the number of instances, whatever that is.
const (
	manyCalls = 60
	fewCalls  = 12
)

// perform has it happen while calls are made to conn, and returns what was seen of each phase.
func perform(t *testing.T, c *surecalltest.Cluster, conn grpc.ClientConnInterface) (all []seen) {
	for _, a := range acts() {
		if a.do != nil {
			a.do(c)
		}
		advance(10 * time.Second) // connections settle, or fail for good
		synctest.Wait()
		saw, before := seen{}, reached(c)
		n := manyCalls
		if a.few {
			n = fewCalls
		}
		for range n {
			saw[callOnce(conn, a, getMethod)]++
		}
		for range n {
			saw[callOnce(conn, a, placeMethod)]++
		}
		for range n {
			saw[streamOnce(conn, a)]++
		}
		synctest.Wait()
		for i, calls := range reached(c) {
			if i < len(before) {
				calls -= before[i]
			}
			saw[fmt.Sprintf("at instance %d", i)] = calls
		}
		if a.lots {
			saw = saw.kinds()
		}
		all = append(all, saw)
	}
	return all
}

func (a act) context() (context.Context, context.CancelFunc) {
	if a.free {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), 300*time.Millisecond)
}

// ended is all that a caller can tell of an end.
func ended(began time.Time, err error) string {
	s, ok := status.FromError(err)
	return fmt.Sprintf("after %v: %v %q (%T, a status: %v, details: %d)", time.Since(began), s.Code(), s.Message(), err, ok, len(s.Details()))
}

func callOnce(conn grpc.ClientConnInterface, a act, method string) string {
	ctx, cancel := a.context()
	defer cancel()
	began := time.Now()
	var header, trailer metadata.MD
	reply, err := unary(ctx, conn, method, append(a.opts, grpc.Header(&header), grpc.Trailer(&trailer))...)
	return fmt.Sprintf("%s by %q, %s, header %v, trailer %v", method, reply.GetServedBy(), ended(began, err), header, trailer)
}

// streamOnce opens a stream, takes its first message, and leaves it.
func streamOnce(conn grpc.ClientConnInterface, a act) string {
	ctx, cancel := a.context()
	defer cancel()
	began := time.Now()
	stream, err := orders.NewOrdersClient(conn).Watch(ctx, &orders.GetRequest{Id: "1"}, a.opts...)
	if err != nil {
		return "stream not opened, " + ended(began, err)
	}
	order, err := stream.Recv()
	if err != nil {
		return fmt.Sprintf("stream, %s, trailer %v", ended(began, err), stream.Trailer())
	}
	by := order.GetServedBy()
	cancel()
	for err == nil {
		_, err = stream.Recv()
	}
	if err == io.EOF {
		err = nil
	}
	return fmt.Sprintf("stream by %q, %s", by, ended(began, err))
}

// strictest is a configuration in which all that could act would, at once.
func strictest() []surecall.Option {
	return []surecall.Option{
		surecall.WithBreaker(breaker.Policy{ConsecutiveFailures: 1}), surecall.WithServiceBreaker(breaker.ServicePolicy{MinFailures: 1, Quiet: 10 * time.Millisecond}),
		surecall.WithMethodBreaker(breaker.MethodPolicy{MinRequests: 1, FailureRatio: 0.01}), surecall.WithIdempotent("*"),
		surecall.WithRetry(retry.Policy{MaxAttempts: 5}), surecall.WithHedge(retry.Hedge{Delay: time.Millisecond}),
		surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 5 * time.Millisecond}), surecall.WithCallDeadline(10 * time.Millisecond),
		surecall.WithConcurrency(limit.Concurrency{Limit: 1}), surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1}),
		surecall.WithStreamConcurrency(limit.Concurrency{Limit: 1}), surecall.WithInstanceStreamConcurrency(limit.Concurrency{Limit: 1}),
		surecall.WithRateLimit(limit.Rate{PerSecond: 0.001, Burst: 1, Wait: true, MaxWait: time.Hour}),
		surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour, Stale: time.Hour}), surecall.WithCallID(),
		surecall.ForMethod(getMethod, surecall.WithFallback(madeUp)),
		surecall.ForMethod(watchMethod, surecall.WithCallDeadline(10*time.Millisecond)),
	}
}

// What callers see of a client in shadow mode is what they see of plain gRPC with
// round_robin: the same replies and errors, of the same instances, as often and after the
// same time, whatever happens and whatever is configured.
func TestShadowIsPlain(t *testing.T) {
	run := func(connect func(*testing.T, *surecalltest.Cluster) grpc.ClientConnInterface) (all []seen) {
		bubble(t, func(t *testing.T) {
			c := surecalltest.NewCluster(t, 3)
			all = perform(t, c, connect(t, c))
		})
		return all
	}
	want := run(func(t *testing.T, c *surecalltest.Cluster) grpc.ClientConnInterface { return roundRobin(t, c) })
	for name, opts := range map[string][]surecall.Option{"defaults": nil, "everything": strictest()} {
		t.Run(name, func(t *testing.T) {
			got := run(func(t *testing.T, c *surecalltest.Cluster) grpc.ClientConnInterface {
				return ready(t, c, append(opts, surecall.WithShadow())...)
			})
			for n, a := range acts() {
				if !maps.Equal(got[n], want[n]) {
					t.Errorf("%s: plain gRPC only:\n%s\nshadow only:\n%s", a.name,
						strings.Join(want[n].minus(got[n]), "\n"), strings.Join(got[n].minus(want[n]), "\n"))
				}
			}
		})
	}
}

// No protection acts in shadow mode where it would act without: neither when it is on from
// the beginning, nor when it is switched on.
func TestShadowActsNot(t *testing.T) {
	for _, test := range protectionCases() {
		t.Run(string(test.protection), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, test.instances)
				client := ready(t, cluster, append(test.options, surecall.WithShadow())...)
				acts := test.begin(t, cluster, client)
				if acts() {
					t.Error("it acts")
				}
			})
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, test.instances)
				client := ready(t, cluster, test.options...)
				acts := test.begin(t, cluster, client)
				update(t, client, surecall.WithShadow())
				if acts() {
					t.Error("it acts, although shadow mode was switched on")
				}
				update(t, client, surecall.WithoutShadow())
				acts = test.begin(t, cluster, client)
				if !acts() {
					t.Error("it does not act, although shadow mode was switched off")
				}
			})
		})
	}
}
