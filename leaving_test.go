package surecall_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/surecalltest"
)

// leaver is an orders server whose answers carry what a test says in the trailer that
// tells of leaving.
type leaver struct {
	orders.UnimplementedOrdersServer
	mark atomic.Pointer[func(id string) string]
}

func (l *leaver) says(mark func(id string) string) { l.mark.Store(&mark) }

func (l *leaver) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	if mark := l.mark.Load(); mark != nil {
		id := ""
		if ids := metadata.ValueFromIncomingContext(ctx, "surecall-attempt-id"); len(ids) == 1 {
			id = ids[0]
		}
		if said := (*mark)(id); said != "" {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("surecall-draining", said))
		}
	}
	return &orders.Order{}, nil
}

func (l *leaver) Place(context.Context, *orders.PlaceRequest) (*orders.Order, error) {
	return &orders.Order{}, nil
}

// Watch lasts until its caller ends it.
func (l *leaver) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	if err := stream.Send(&orders.Order{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func itself(id string) string { return id }

// leavers returns a cluster of leavers that are registered as servers of package
// lifecycle.
func leavers(t *testing.T, n int) (*surecalltest.Cluster, []*leaver) {
	var all []*leaver
	c := surecalltest.NewClusterOf(t, n, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
		all = append(all, &leaver{})
		orders.RegisterOrdersServer(s, all[len(all)-1])
	})
	for _, i := range c.Instances() {
		i.Change(markLifecycle)
	}
	return c, all
}

// gets makes n calls and returns how many reached each instance.
func gets(t *testing.T, c *surecalltest.Cluster, cc grpc.ClientConnInterface, n int) []int {
	t.Helper()
	before := reached(c)
	for range n {
		get(t, cc)
	}
	after := reached(c)
	for i := range after {
		after[i] -= before[i]
	}
	return after
}

// What an instance's health service says is heard at once, over the connection that is
// there. While nobody else serves, those that say NOT_SERVING do.
func TestNotServing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		first := cluster.Instance(0)
		first.Serving(false)
		synctest.Wait()
		if got := stateOf(client, first.ID()); got != event.NotServing {
			t.Errorf("state: %v: want %v", got, event.NotServing)
		}
		if n := gets(t, cluster, client, 60); n[0] > 0 {
			t.Errorf("%d calls went to an instance that says NOT_SERVING", n[0])
		}
		for _, i := range cluster.Instances() {
			i.Serving(false)
		}
		synctest.Wait()
		gets(t, cluster, client, 10)
		for _, i := range cluster.Instances() {
			i.Serving(true)
		}
		synctest.Wait()
		if n := gets(t, cluster, client, 60); n[0] == 0 {
			t.Error("no call went to an instance that serves again")
		}
		// A connection that is new finds it out before its first call.
		first.Serving(false)
		first.Kill()
		first.Start()
		advance(time.Second)
		if n := gets(t, cluster, client, 60); n[0] > 0 {
			t.Errorf("after a restart, %d calls went to an instance that says NOT_SERVING", n[0])
		}
	})
}

func TestWithoutHealthWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutHealthWatch())
		cluster.Instance(0).Serving(false)
		synctest.Wait()
		if n := gets(t, cluster, client, 60); n[0] == 0 {
			t.Error("an instance whose health nobody watches gets no calls")
		}
	})
}

// oddHealth is a health service that does not answer as it should.
type oddHealth struct {
	healthpb.UnimplementedHealthServer
	watch func(context.Context) error
}

func (h oddHealth) Watch(_ *healthpb.HealthCheckRequest, s healthpb.Health_WatchServer) error {
	return h.watch(s.Context())
}

// Whatever a server makes of a health check, only an explicit NOT_SERVING takes it out.
func TestHealthIsOptional(t *testing.T) {
	for _, test := range []struct {
		name     string
		watch    func(context.Context) error // nil: no health service
		waits    time.Duration               // for the first call
		problems int
	}{
		{name: "no health service", problems: 1},
		{name: "wants a password", watch: func(context.Context) error { return status.Error(codes.Unauthenticated, "no token") }, problems: 1},
		{name: "does not know the name", watch: func(context.Context) error { return status.Error(codes.NotFound, "unknown") }, problems: 1},
		{name: "says nothing", watch: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, waits: 250 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				lis, server, events := pipe.Listen(), grpc.NewServer(), &log{}
				orders.RegisterOrdersServer(server, &leaver{})
				if test.watch != nil {
					healthpb.RegisterHealthServer(server, oddHealth{watch: test.watch})
				}
				go func() { _ = server.Serve(lis) }()
				defer server.Stop()
				client, err := surecall.NewClient("static:///a:1", surecall.WithInsecure(), events.option(),
					surecall.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = client.Close() }()
				began := time.Now()
				get(t, client)
				if took := time.Since(began); took != test.waits {
					t.Errorf("the first call took %v: want %v", took, test.waits)
				}
				advance(10 * time.Minute)
				get(t, client)
				if n := len(eventsOf[event.HealthUnknown](events)); n != test.problems {
					t.Errorf("told %d times: want %d", n, test.problems)
				}
			})
		})
	}
}

// An instance that says in an answer that it is leaving gets no further call, whatever
// its health and the source say, until it shows that it stays.
func TestDrainingMark(t *testing.T) {
	for _, test := range []struct {
		name string
		mark func(id string) string
		ends func(t *testing.T, i *surecalltest.Instance, l *leaver) // how the mark ends; nil: it has no effect
	}{
		{"another's mark", func(id string) string { return id + "x" }, nil},
		{"no ID", func(string) string { return "1" }, nil},
		{"30 s pass", itself, func(t *testing.T, _ *surecalltest.Instance, l *leaver) {
			l.says(func(string) string { return "" })
			advance(30 * time.Second)
		}},
		{"its health says otherwise", itself, func(t *testing.T, i *surecalltest.Instance, l *leaver) {
			l.says(func(string) string { return "" })
			i.Serving(false)
			synctest.Wait()
			i.Serving(true)
			synctest.Wait()
		}},
		{"a new connection", itself, func(t *testing.T, i *surecalltest.Instance, l *leaver) {
			l.says(func(string) string { return "" })
			i.Kill()
			i.Start()
			advance(time.Second)
		}},
		{"a new incarnation", itself, func(t *testing.T, i *surecalltest.Instance, l *leaver) {
			l.says(func(string) string { return "" })
			i.Change(func(d *discovery.Instance) { d.Incarnation = "2" })
			synctest.Wait()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, servers := leavers(t, 3)
				client := ready(t, cluster)
				first := cluster.Instance(0)
				servers[0].says(test.mark)
				gets(t, cluster, client, 60)
				n := gets(t, cluster, client, 60)[0]
				if test.ends == nil {
					if n == 0 {
						t.Errorf("a mark that is not its own took it out: %v", stateOf(client, first.ID()))
					}
					return
				}
				if got := stateOf(client, first.ID()); got != event.Draining || n > 0 {
					t.Fatalf("state %v, %d calls: want %v and none", got, n, event.Draining)
				}
				test.ends(t, first, servers[0])
				if n := gets(t, cluster, client, 300)[0]; n == 0 {
					t.Errorf("no call since: %v", stateOf(client, first.ID()))
				}
			})
		})
	}
}

// The mark does not outlast the instance's place in the source, nor bar the last one.
func TestDrainingServesIfThereIsNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, servers := leavers(t, 2)
		client := ready(t, cluster)
		servers[0].says(itself)
		gets(t, cluster, client, 60)
		cluster.Instance(1).Serving(false)
		synctest.Wait()
		if n := gets(t, cluster, client, 10); n[0] > 0 {
			t.Errorf("%v calls: want those for one that says NOT_SERVING before one that is leaving", n)
		}
		cluster.Instance(1).Kill()
		synctest.Wait()
		gets(t, cluster, client, 5)
		servers[0].says(func(string) string { return "" })
		advance(time.Millisecond)
		gets(t, cluster, client, 2)
		if got := stateOf(client, cluster.Instance(0).ID()); got != event.Eligible {
			t.Errorf("state after an answer without the mark: %v: want %v", got, event.Eligible)
		}
	})
}

// A stream is told when its instance begins to leave, however that shows.
func TestLeaving(t *testing.T) {
	for _, test := range []struct {
		name   string
		leaves func(t *testing.T, i *surecalltest.Instance, l *leaver, cc grpc.ClientConnInterface)
	}{
		{"its health service says so", func(_ *testing.T, i *surecalltest.Instance, _ *leaver, _ grpc.ClientConnInterface) { i.Serving(false) }},
		{"an answer says so", func(t *testing.T, _ *surecalltest.Instance, l *leaver, cc grpc.ClientConnInterface) {
			l.says(itself)
			get(t, cc)
		}},
		{"the source does not list it", func(_ *testing.T, i *surecalltest.Instance, _ *leaver, _ grpc.ClientConnInterface) { i.Delist() }},
		{"it takes no new streams", func(_ *testing.T, i *surecalltest.Instance, _ *leaver, _ grpc.ClientConnInterface) { go i.Stop() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, servers := leavers(t, 1)
				client := ready(t, cluster, surecall.WithLoss(applyAtOnce))
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				leaving := surecall.Leaving(stream.Context())
				select {
				case <-leaving:
					t.Fatal("told before anything happened")
				default:
				}
				test.leaves(t, cluster.Instance(0), servers[0], client)
				<-leaving // for ever, if it is not told
				<-surecall.Leaving(stream.Context())
				cancel()
				if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
					t.Errorf("the stream ended with %v: want it to go on until it is canceled", err)
				}
				if surecall.Leaving(stream.Context()) != nil || surecall.Leaving(t.Context()) != nil {
					t.Error("a channel for no stream")
				}
				synctest.Wait()
			})
		})
	}
}
