package surecall_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
)

// healthOf returns a client of one server whose health service is given.
func healthOf(t *testing.T, h healthpb.HealthServer, opts ...surecall.Option) *surecall.Client {
	t.Helper()
	lis, server := pipe.Listen(), grpc.NewServer()
	orders.RegisterOrdersServer(server, &leaver{})
	healthpb.RegisterHealthServer(server, h)
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	client, err := surecall.NewClient("static:///a:1", append(opts, surecall.WithInsecure(),
		surecall.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	get(t, client)
	return client
}

// only returns the state of a client's only instance.
func only(t *testing.T, client *surecall.Client) event.State {
	t.Helper()
	all := client.Instances()
	if len(all) != 1 {
		t.Fatalf("%d instances, want 1", len(all))
	}
	return all[0].State
}

// A server has more than one health. The client goes by the one that it asks for.
func TestHealthOfAService(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []surecall.Option
		want event.State
	}{
		{"the server as a whole", nil, event.Eligible},
		{"a service", []surecall.Option{surecall.WithHealthService("x")}, event.NotServing},
		{"a service, and it was off before", []surecall.Option{surecall.WithoutHealthWatch(), surecall.WithHealthService("x")}, event.NotServing},
		{"another service", []surecall.Option{surecall.WithHealthService("y")}, event.Eligible},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := health.NewServer()
				h.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
				h.SetServingStatus("x", healthpb.HealthCheckResponse_NOT_SERVING)
				h.SetServingStatus("y", healthpb.HealthCheckResponse_SERVING)
				client := healthOf(t, h, test.opts...)
				advance(time.Second)
				if got := only(t, client); got != test.want {
					t.Errorf("state %v: want %v", got, test.want)
				}
			})
		})
	}
}

// leaves is a health service that says NOT_SERVING to the first Watch and ends it after a
// second. Later ones end at once.
type leaves struct {
	healthpb.UnimplementedHealthServer
	watches atomic.Int64
}

func (h *leaves) Watch(_ *healthpb.HealthCheckRequest, s healthpb.Health_WatchServer) error {
	if h.watches.Add(1) == 1 {
		_ = s.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING})
		advance(time.Second)
	}
	return status.Error(codes.Unavailable, "going")
}

// A server that leaves ends its streams, its Watch too: what it said holds. When the next
// Watch ends as well, without a word, nothing is known any more.
func TestNotServingOutlastsOneWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &leaves{}
		client := healthOf(t, h)
		for _, step := range []struct {
			wait    time.Duration
			watches int64
			want    event.State
		}{
			{900 * time.Millisecond, 1, event.NotServing},
			{400 * time.Millisecond, 1, event.NotServing}, // ended; the next comes within half a second and one
			{800 * time.Millisecond, 2, event.Eligible},
		} {
			advance(step.wait)
			if got := only(t, client); got != step.want || h.watches.Load() != step.watches {
				t.Errorf("state %v after %d watches: want %v after %d", got, h.watches.Load(), step.want, step.watches)
			}
		}
	})
}
