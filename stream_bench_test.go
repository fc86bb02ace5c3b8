package surecall_test

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// importing sends n messages and waits for the answer.
func importing(ctx context.Context, tb testing.TB, cc grpc.ClientConnInterface, n int) {
	stream, err := orders.NewOrdersClient(cc).Import(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	m := &orders.PlaceRequest{Item: "one of a hundred bytes or so, as messages are that have something to say to each other, and are not read"}
	for range n {
		if err := stream.Send(m); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		tb.Fatal(err)
	}
}

// watching asks for a stream that ends after three messages.
func watching(ctx context.Context, tb testing.TB, cc grpc.ClientConnInterface) {
	stream, err := orders.NewOrdersClient(cc).Watch(ctx, &orders.GetRequest{Id: "1"})
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := stream.Recv(); err == io.EOF {
			return
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}

func briefCluster(tb testing.TB) *surecalltest.Cluster {
	return surecalltest.NewClusterOf(tb, 3, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
		orders.RegisterOrdersServer(s, brief{})
	})
}

// A stream that can be replayed costs a few allocations more than one that cannot, and
// nothing for its messages once it is committed.
func TestStreamAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	cluster := briefCluster(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	measure := func(cc grpc.ClientConnInterface) float64 {
		for range 200 {
			watching(ctx, t, cc)
		}
		least := testing.AllocsPerRun(1000, func() { watching(ctx, t, cc) })
		return min(least, testing.AllocsPerRun(1000, func() { watching(ctx, t, cc) }))
	}
	raw := measure(plain(t, cluster))
	without, with := measure(sure(t, cluster, surecall.WithoutReplayBuffer())), measure(sure(t, cluster))
	t.Logf("plain gRPC %v allocations, without a buffer %+v, with one %+v", raw, without-raw, with-raw)
	if without-raw > 4 || with-without > 2 {
		t.Errorf("%v allocations without a buffer and %v with one, plain gRPC %v: want at most 4 and 2 more", without, with, raw)
	}
}

// BenchmarkStream is a whole stream, client and server in one process: one request and
// three messages, or a hundred messages and one reply.
func BenchmarkStream(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	watched, imported := briefCluster(b), surecalltest.NewCluster(b, 3)
	again := surecall.WithIdempotent("/orders.v1.Orders/Import")
	for _, part := range []struct {
		name  string
		watch grpc.ClientConnInterface
		send  grpc.ClientConnInterface
	}{
		{"grpc", plain(b, watched), plain(b, imported)},
		{"surecall/no buffer", sure(b, watched, surecall.WithoutReplayBuffer()), sure(b, imported, again, surecall.WithoutReplayBuffer())},
		{"surecall/buffer", sure(b, watched), sure(b, imported, again)},
	} {
		b.Run(part.name+"/receive 3", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				watching(ctx, b, part.watch)
			}
		})
		b.Run(part.name+"/send 100", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				importing(ctx, b, part.send, 100)
			}
		})
	}
}
