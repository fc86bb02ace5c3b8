package surecall_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/surecalltest"
)

// All instances of a service fail for three seconds, under load: what retries add to the
// load is bounded, and calls succeed as soon as one can. A stack made by hand of the same
// parts, as its control, multiplies the load, or keeps calls from a service that is back.
func TestRetryStorm(t *testing.T) {
	faults := []struct {
		name       string
		begin, end func(*surecalltest.Cluster)
	}{
		{"UNAVAILABLE at once", allFail(codes.Unavailable), allFail(codes.OK)},
		{"hanging", hangAll, resumeAll},
	}
	stacks := []struct {
		name        string
		connect     func(*testing.T, *surecalltest.Cluster, stats.Handler) grpc.ClientConnInterface
		least, most float64       // attempts per call, over the outage
		back        time.Duration // from the end of the outage until calls succeed
		watched     time.Duration // from then on
	}{
		{"surecall", connectSure(), 0, 1.35, 300 * time.Millisecond, time.Second},
		{"surecall without its service breaker", connectSure(surecall.WithoutServiceBreaker()), 0, 1.35, 300 * time.Millisecond, time.Second},
		{"by hand, retries only", connectByHand(false), 2, 3, 300 * time.Millisecond, time.Second},
		{"by hand, with a breaker for each method", connectByHand(true), 0, 3, never, 10 * time.Second},
	}
	for _, fault := range faults {
		for _, stack := range stacks {
			t.Run(fault.name+"/"+stack.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					const outage, rate = 3 * time.Second, 400
					cluster, sent := surecalltest.NewCluster(t, 3), &sendings{}
					conn := stack.connect(t, cluster, sent)
					for range 40 {
						get(t, conn)
					}
					before := sent.n.Load()
					fault.begin(cluster)
					var attempts int64
					var recovered time.Time
					time.AfterFunc(outage, func() {
						attempts, recovered = sent.n.Load()-before, time.Now()
						fault.end(cluster)
					})
					results := load(t, conn, getMethod, time.Second/rate, outage+stack.watched)

					perCall := float64(attempts) / (outage.Seconds() * rate)
					first, all := backAfter(results, recovered)
					t.Logf("%.2f attempts per call in the outage; the first success %v after it, no failure from %v on", perCall, first, all)
					if perCall < stack.least || perCall > stack.most {
						t.Errorf("%.2f attempts per call in the outage: want %v to %v", perCall, stack.least, stack.most)
					}
					if stack.back == never && first != never || all > stack.back {
						t.Errorf("the first success %v after the outage, no failure from %v on: want %v", first, all, stack.back)
					}
				})
			})
		}
	}
}

func allFail(code codes.Code) func(*surecalltest.Cluster) {
	return func(c *surecalltest.Cluster) {
		for _, i := range c.Instances() {
			i.Fail(code)
		}
	}
}

// never is longer than any test.
const never = time.Hour

// backAfter is how long after since the first call succeeded, and after how long those
// that began then all did.
func backAfter(results []result, since time.Time) (first, all time.Duration) {
	first = never
	for _, r := range results {
		ended := r.began.Add(r.took).Sub(since)
		switch {
		case ended < 0:
		case r.err == nil:
			first = min(first, ended)
		default:
			all = max(all, r.began.Sub(since)+1)
		}
	}
	if first == never {
		return never, never
	}
	return first, all
}

// sendings counts the attempts that were sent, whether or not a server reads them.
type sendings struct {
	stats.Handler
	n atomic.Int64
}

func (s *sendings) HandleRPC(_ context.Context, r stats.RPCStats) {
	if _, ok := r.(*stats.OutHeader); ok {
		s.n.Add(1)
	}
}

func (*sendings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*sendings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*sendings) HandleConn(context.Context, stats.ConnStats)                       {}

func connectSure(opts ...surecall.Option) func(*testing.T, *surecalltest.Cluster, stats.Handler) grpc.ClientConnInterface {
	return func(t *testing.T, c *surecalltest.Cluster, h stats.Handler) grpc.ClientConnInterface {
		return ready(t, c, append(slices.Clone(opts), surecall.WithDialOptions(grpc.WithStatsHandler(h)))...)
	}
}

// connectByHand is what teams write: gRPC's round robin, an interceptor that retries twice
// and bounds each attempt, and around it a breaker of gobreaker's defaults for each method.
func connectByHand(breakers bool) func(*testing.T, *surecalltest.Cluster, stats.Handler) grpc.ClientConnInterface {
	return func(t *testing.T, c *surecalltest.Cluster, h stats.Handler) grpc.ClientConnInterface {
		var addresses []resolver.Address
		for _, i := range c.Instances() {
			addresses = append(addresses, resolver.Address{Addr: i.Address()})
		}
		list := manual.NewBuilderWithScheme("byhand")
		list.InitialState(resolver.State{Addresses: addresses})
		chain := []grpc.UnaryClientInterceptor{retryThrice}
		if breakers {
			chain = append([]grpc.UnaryClientInterceptor{breakerOfMethods()}, chain...)
		}
		conn, err := grpc.NewClient("byhand:///orders", grpc.WithResolvers(list), grpc.WithContextDialer(c.Dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(h), grpc.WithDisableRetry(),
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`), grpc.WithChainUnaryInterceptor(chain...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

func retryThrice(
	ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) (err error) {
	for attempt := range 3 {
		advance(time.Duration(attempt) * 25 * time.Millisecond)
		one, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		err = invoke(one, method, req, reply, conn, opts...)
		cancel()
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
			return err
		}
	}
	return err
}

func breakerOfMethods() grpc.UnaryClientInterceptor {
	breaker := gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{}) // of the one method that is called
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		_, err := breaker.Execute(func() (struct{}, error) { return struct{}{}, invoke(ctx, method, req, reply, conn, opts...) })
		return err
	}
}
