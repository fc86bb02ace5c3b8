package lifecycle_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

const service = "orders"

// rig is a server with a life, a registry and a plain client.
type rig struct {
	t        *testing.T
	registry *memory.Registry
	lis      *pipe.Listener
	config   lifecycle.Config
	life     *lifecycle.Life
	server   *grpc.Server
	once     *once.Policy // nil: calls are executed as they come
	orders   *handler
	conn     *grpc.ClientConn
	client   orders.OrdersClient

	mu    sync.Mutex
	steps []event.LifecycleStep
}

// inBubble runs a test with a rig, whose configuration change has changed. It ends when
// the life has: what is left running then fails the test.
func inBubble(t *testing.T, change func(*rig, *lifecycle.Config), test func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, change)
		defer func() { // also if the test ends half-way
			_ = r.conn.Close()
			_ = r.life.Stop(t.Context())
		}()
		test(t, r)
	})
}

func newRig(t *testing.T, change func(*rig, *lifecycle.Config), options ...grpc.ServerOption) *rig {
	r := &rig{t: t, registry: memory.New(), lis: pipe.Listen(), orders: &handler{}}
	r.config = lifecycle.Config{
		Service: service, Listener: r.lis, Address: "10.0.0.1:80",
		Registrars: []discovery.Registrar{r.registry},
		Logger:     slog.New(slog.DiscardHandler),
		Events: func(e event.Event) {
			if s, ok := e.(event.LifecycleStep); ok {
				r.mu.Lock()
				r.steps = append(r.steps, s)
				r.mu.Unlock()
			}
		},
	}
	if change != nil {
		change(r, &r.config)
	}
	r.life = lifecycle.New(r.config)
	r.server = grpc.NewServer(append(r.life.ServerOptions(), options...)...)
	var registrar grpc.ServiceRegistrar = r.server
	if r.once != nil {
		registrar = r.life.Once(registrar, *r.once)
	}
	orders.RegisterOrdersServer(registrar, r.orders)
	r.conn = dial(t, r.lis)
	r.client = orders.NewOrdersClient(r.conn)
	return r
}

func dial(t *testing.T, lis *pipe.Listener) *grpc.ClientConn {
	return dialWith(t, lis.DialContext)
}

func dialWith(t *testing.T, dialer func(context.Context) (net.Conn, error)) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///x",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialer(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (r *rig) start() {
	r.t.Helper()
	if err := r.life.Start(r.t.Context(), r.server); err != nil {
		r.t.Fatal(err)
	}
}

// listed is what the registry has.
func (r *rig) listed() []discovery.Instance {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var set []discovery.Instance
	_ = r.registry.Watch(ctx, discovery.Query{Service: service, Accept: discovery.AcceptAny}, func(s discovery.Snapshot) {
		set = s.Instances
		cancel()
	})
	return set
}

// entry is the one that the registry has.
func (r *rig) entry() discovery.Instance {
	r.t.Helper()
	set := r.listed()
	if len(set) != 1 {
		r.t.Fatalf("registered: %+v", set)
	}
	return set[0]
}

func (r *rig) health() healthpb.HealthCheckResponse_ServingStatus {
	r.t.Helper()
	answer, err := healthpb.NewHealthClient(r.conn).Check(r.t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.GetStatus()
}

// get makes a call with the given pairs of metadata, and returns its trailer.
func (r *rig) get(pairs ...string) (metadata.MD, error) {
	var trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(r.t.Context(), pairs...)
	_, err := r.client.Get(ctx, &orders.GetRequest{}, grpc.Trailer(&trailer))
	return trailer, err
}

// took returns the steps done so far, and how long each took.
func (r *rig) took() (names []string, all map[string]event.LifecycleStep) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all = make(map[string]event.LifecycleStep)
	for _, s := range r.steps {
		names = append(names, s.Step)
		all[s.Step] = s
	}
	return names, all
}

func (r *rig) did(step string) bool {
	names, _ := r.took()
	return slices.Contains(names, step)
}

// handler answers as its functions say, or at once.
type handler struct {
	orders.UnimplementedOrdersServer
	get    func(context.Context) error
	place  func(context.Context) error
	placed atomic.Int64 // executions of Place
	watch  func(grpc.ServerStreamingServer[orders.Order]) error
}

func (h *handler) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	if h.get != nil {
		if err := h.get(ctx); err != nil {
			return nil, err
		}
	}
	return &orders.Order{Id: r.GetId()}, nil
}

// Place answers with how many were placed.
func (h *handler) Place(ctx context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	n := h.placed.Add(1)
	if h.place != nil {
		if err := h.place(ctx); err != nil {
			return nil, err
		}
	}
	return &orders.Order{Id: strconv.FormatInt(n, 10), Item: r.GetItem()}, nil
}

func (h *handler) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	if err := stream.Send(&orders.Order{}); err != nil {
		return err
	}
	return h.watch(stream)
}

// receive reads a stream to its end, which it returns; nil for io.EOF.
func receive(stream grpc.ServerStreamingClient[orders.Order]) error {
	for {
		switch _, err := stream.Recv(); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}
