package surecall_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/surecalltest"
)

// plain returns a connection to the cluster that is gRPC's own round robin.
func plain(tb testing.TB, c *surecalltest.Cluster) *grpc.ClientConn {
	tb.Helper()
	source := manual.NewBuilderWithScheme("plain")
	var endpoints []resolver.Endpoint
	for _, i := range c.Instances() {
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: i.Address()}}})
	}
	source.InitialState(resolver.State{Endpoints: endpoints})
	conn, err := grpc.NewClient("plain:///orders", grpc.WithResolvers(source), grpc.WithContextDialer(c.Dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(0), grpc.WithDisableRetry(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	conn.Connect()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for s := conn.GetState(); s != connectivity.Ready; s = conn.GetState() {
		if !conn.WaitForStateChange(ctx, s) {
			tb.Fatal(ctx.Err())
		}
	}
	return conn
}

// sure returns a client of the cluster that is connected.
func sure(tb testing.TB, c *surecalltest.Cluster, opts ...surecall.Option) *surecall.Client {
	tb.Helper()
	client := c.Client(opts...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := client.WaitReady(ctx); err != nil {
		tb.Fatal(err)
	}
	return client
}

// call makes one call with a deadline of the caller's, which neither side has to add.
func call(ctx context.Context, tb testing.TB, cc grpc.ClientConnInterface, method string) {
	if _, err := unary(ctx, cc, method); err != nil {
		tb.Fatal(err)
	}
}

// A call costs a few allocations more than plain gRPC's, which makes over a hundred; with
// every policy on, and no second attempt needed, at most 14. What is off costs nothing.
// With a reserve and a cache, which AllPolicies leaves out, it is at most 14 more than the
// bare client's; a call ID adds 13 more, of which most are the server's, who reads it.
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	cluster := surecalltest.NewCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	least := func(f func()) float64 {
		for range 200 {
			f() // pools fill, latencies are learned
		}
		n := testing.AllocsPerRun(1000, f)
		return min(n, testing.AllocsPerRun(1000, f))
	}
	measure := func(cc grpc.ClientConnInterface, method string) float64 {
		return least(func() { call(ctx, t, cc, method) })
	}
	raw, bare := plain(t, cluster), sure(t, cluster)
	base := map[string]float64{}
	for _, test := range []struct {
		name, method string
		most         float64
	}{{"not idempotent", placeMethod, 4}, {"idempotent", getMethod, 8}} {
		grpcs, ours := measure(raw, test.method), measure(bare, test.method)
		base[test.method] = ours
		t.Logf("%s: %v allocations, plain gRPC %v: %+v", test.name, ours, grpcs, ours-grpcs)
		if ours-grpcs > test.most {
			t.Errorf("%s: %v allocations more than plain gRPC: want at most %v", test.name, ours-grpcs, test.most)
		}
	}
	for _, p := range surecall.Policies() {
		ours := measure(sure(t, cluster, options(p.Options)...), getMethod) - base[getMethod]
		t.Logf("%s: %+v allocations beside the bare client's", p.Name, ours)
		if ours > p.Most {
			t.Errorf("%s: %v allocations more than the bare client: want at most %v", p.Name, ours, p.Most)
		}
	}
	full := sure(t, cluster, options(surecall.AllPolicies())...)
	deadline := func(cc grpc.ClientConnInterface) float64 {
		return least(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			call(ctx, t, cc, getMethod)
		})
	}
	for _, test := range []struct {
		name   string
		beside float64
		ours   float64
		most   float64
	}{
		{"everything on, beside plain gRPC", measure(raw, getMethod), measure(full, getMethod), 14},
		{"everything on, with a deadline of ours where plain gRPC's caller sets one", deadline(raw),
			least(func() { call(context.Background(), t, full, getMethod) }), 14},
		{"everything on, reserve and cache too, beside the bare client", base[getMethod],
			measure(sure(t, cluster, options(surecall.AndSecondBest())...), getMethod), 14},
		{"everything on, call ID too, beside the bare client", base[getMethod],
			measure(sure(t, cluster, options(surecall.AndCallID())...), getMethod), 27},
	} {
		t.Logf("%s: %v allocations beside %v: %+v", test.name, test.ours, test.beside, test.ours-test.beside)
		if test.ours-test.beside > test.most {
			t.Errorf("%s: %v allocations more: want at most %v", test.name, test.ours-test.beside, test.most)
		}
	}
}

func options(live []surecall.LiveOption) (all []surecall.Option) {
	for _, o := range live {
		all = append(all, o)
	}
	return all
}

// BenchmarkUnary is a whole call, client and server in one process, on connections in
// memory. Compare the parts with each other: the absolute numbers are those of the
// machine.
func BenchmarkUnary(b *testing.B) {
	cluster := surecalltest.NewCluster(b, 5)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, part := range []struct {
		name   string
		conn   grpc.ClientConnInterface
		method string
	}{
		{"grpc", plain(b, cluster), placeMethod},
		{"surecall/not idempotent", sure(b, cluster), placeMethod},
		{"surecall/idempotent", sure(b, cluster), getMethod},
		{"surecall/every policy on", sure(b, cluster, options(surecall.AllPolicies())...), getMethod},
		{"surecall/reserve and cache too", sure(b, cluster, options(surecall.AndSecondBest())...), getMethod},
	} {
		b.Run(part.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(ctx, b, part.conn, part.method)
			}
		})
		b.Run(part.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call(ctx, b, part.conn, part.method)
				}
			})
		})
	}
}

// BenchmarkSecondBest is what each of it adds to a call, while instances answer. Compare
// the parts with "off".
func BenchmarkSecondBest(b *testing.B) {
	cluster := surecalltest.NewCluster(b, 5)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, part := range []struct {
		name   string
		option surecall.Option
	}{
		{"off", surecall.WithOptions()},
		{"fallback", surecall.WithFallback(madeUp)},
		{"fallback with a reserve", surecall.WithOptions(surecall.WithFallback(madeUp), surecall.WithFallbackReserve(time.Second))},
		{"cache asked", surecall.WithCache(surecall.CachePolicy{})},
		{"cache missed", surecall.WithCache(surecall.CachePolicy{Fresh: 1})},
		{"cache fresh", surecall.WithCache(surecall.CachePolicy{Fresh: time.Hour})},
	} {
		client := sure(b, cluster, part.option)
		b.Run(part.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(ctx, b, client, getMethod)
			}
		})
		b.Run(part.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call(ctx, b, client, getMethod)
				}
			})
		})
	}
}
