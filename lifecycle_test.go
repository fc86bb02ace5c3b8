package surecall_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/lifecycle"
)

// site is where servers of package lifecycle come and go, in virtual time.
type site struct {
	t        *testing.T
	registry *memory.Registry
	mu       sync.Mutex
	open     map[string]*pipe.Listener
	lives    int
	placed   atomic.Int64 // executions of Place, on all of them
}

func newSite(t *testing.T) *site {
	return &site{t: t, registry: memory.New(), open: map[string]*pipe.Listener{}}
}

// server is one life and how many calls it has had.
type server struct {
	*lifecycle.Life
	orders.UnimplementedOrdersServer
	site    *site
	address string
	takes   time.Duration // to answer
	mu      sync.Mutex
	calls   int
}

// start brings one more server online, at an address of its own. Its calls take as long
// as given.
func (s *site) start(takes time.Duration, drain lifecycle.Drain) *server {
	s.t.Helper()
	s.mu.Lock()
	s.lives++
	address := fmt.Sprintf("10.0.0.%d:80", s.lives)
	s.mu.Unlock()
	return s.startAt(address, takes, drain)
}

func (s *site) startAt(address string, takes time.Duration, drain lifecycle.Drain) *server {
	s.t.Helper()
	srv := &server{site: s, address: address, takes: takes}
	lis := pipe.Listen()
	s.mu.Lock()
	s.open[srv.address] = lis
	s.mu.Unlock()
	srv.Life = lifecycle.New(lifecycle.Config{
		Service: surecallService, Listener: lis, Address: srv.address,
		Registrars: []discovery.Registrar{s.registry}, Drain: drain, Logger: slog.New(slog.DiscardHandler),
	})
	g := grpc.NewServer(srv.ServerOptions()...)
	orders.RegisterOrdersServer(g, srv)
	if err := srv.Start(s.t.Context(), g); err != nil {
		s.t.Fatal(err)
	}
	return srv
}

const surecallService = "orders"

func (s *site) client(opts ...surecall.Option) *surecall.Client {
	s.t.Helper()
	client, err := surecall.NewClient("memory:///"+surecallService, append([]surecall.Option{
		surecall.WithInsecure(), surecall.WithSource(s.registry), surecall.WithContextDialer(s.dial),
	}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = client.Close() })
	if err := client.WaitReady(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
	return client
}

func (s *site) dial(ctx context.Context, address string) (net.Conn, error) {
	s.mu.Lock()
	lis := s.open[address]
	s.mu.Unlock()
	if lis == nil {
		return nil, fmt.Errorf("dial %s: nobody there", address)
	}
	return lis.DialContext(ctx)
}

func (s *server) call() {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	time.Sleep(s.takes)
}

func (s *server) had() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *server) Get(context.Context, *orders.GetRequest) (*orders.Order, error) {
	s.call()
	return &orders.Order{ServedBy: s.address}, nil
}

func (s *server) Place(context.Context, *orders.PlaceRequest) (*orders.Order, error) {
	s.site.placed.Add(1)
	s.call()
	return &orders.Order{ServedBy: s.address}, nil
}

// Watch sends what it has until its caller ends it, or the instance leaves.
func (s *server) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	for {
		if err := stream.Send(&orders.Order{ServedBy: s.address}); err != nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// A rolling restart under load, with new addresses and with the same ones: no call fails,
// idempotent or not, and none is executed twice.
func TestRollingRestart(t *testing.T) {
	for name, drain := range map[string]lifecycle.Drain{
		"default":        {},
		"refuse at once": {RefuseAtOnce: true},
		"hasty":          {Propagation: 1, Quiet: 1, Wait: 1}, // what still comes is refused, and goes elsewhere
	} {
		for _, same := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, same addresses %v", name, same), func(t *testing.T) {
				bubble(t, func(t *testing.T) { rollingRestart(t, drain, same) })
			})
		}
	}
}

func rollingRestart(t *testing.T, drain lifecycle.Drain, same bool) {
	const takes = 5 * time.Millisecond
	s := newSite(t)
	var running []*server
	for range 3 {
		running = append(running, s.start(takes, drain))
	}
	client := s.client()
	ctx, cancel := context.WithCancel(t.Context())
	var issued, placed, failed atomic.Int64
	var load sync.WaitGroup
	for n := range 6 {
		load.Go(func() {
			for ctx.Err() == nil {
				method := getMethod
				if n%2 == 1 {
					method = placeMethod
					placed.Add(1)
				}
				_, err := unary(t.Context(), client, method)
				issued.Add(1)
				if err != nil {
					failed.Add(1)
					t.Logf("after %d calls: %v", issued.Load(), err)
				}
				time.Sleep(30 * time.Millisecond)
			}
		})
	}
	time.Sleep(time.Second)
	for n, old := range running {
		if err := old.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if same {
			running[n] = s.startAt(old.address, takes, drain)
		} else {
			running[n] = s.start(takes, drain)
		}
		time.Sleep(500 * time.Millisecond)
	}
	cancel()
	load.Wait()
	if failed.Load() > 0 || s.placed.Load() != placed.Load() || issued.Load() < 300 {
		t.Errorf("of %d calls %d failed; %d placed, %d executed", issued.Load(), failed.Load(), placed.Load(), s.placed.Load())
	}
	for _, srv := range running {
		if err := srv.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Servers are replaced one by one under load, and no caller notices: no call of any
// method fails, and a stream that heeds Leaving is never broken.
func TestRollingRestartWithStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t)
		var running []*server
		for range 3 {
			running = append(running, s.start(20*time.Millisecond, lifecycle.Drain{}))
		}
		client := s.client()
		var load sync.WaitGroup
		ctx, end := context.WithCancel(t.Context())
		for _, method := range []string{getMethod, placeMethod} {
			load.Go(func() {
				var calls sync.WaitGroup
				for ctx.Err() == nil {
					calls.Go(func() {
						if _, err := unary(t.Context(), client, method); err != nil {
							t.Errorf("%s: %v", method, err)
						}
					})
					time.Sleep(3 * time.Millisecond)
				}
				calls.Wait()
			})
		}
		moves := 0
		load.Go(func() { moves = follow(ctx, t, client) })
		for n := range running {
			time.Sleep(2 * time.Second)
			old := running[n]
			running[n] = s.start(20*time.Millisecond, lifecycle.Drain{})
			began := time.Now()
			if err := old.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			// Half of what it takes is propagation, the quiet window is most of the rest.
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("a server whose calls take 20 ms took %v to leave", took)
			}
		}
		time.Sleep(time.Second)
		end()
		load.Wait()
		if moves == 0 {
			t.Error("the stream never moved")
		}
		for _, srv := range running {
			if srv.had() == 0 {
				t.Errorf("%s got no call", srv.address)
			}
			if err := srv.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// follow keeps a stream open until ctx ends, and moves it when its instance begins to
// leave. It returns how often it did.
func follow(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface) (moves int) {
	for ctx.Err() == nil {
		streamCtx, cancel := context.WithCancel(ctx)
		stream, err := orders.NewOrdersClient(cc).Watch(streamCtx, &orders.GetRequest{})
		if err != nil {
			cancel()
			if ctx.Err() == nil {
				t.Errorf("a stream cannot be opened: %v", err)
			}
			return moves
		}
		leaving := surecall.Leaving(stream.Context())
		for left := false; err == nil && !left; {
			_, err = stream.Recv()
			select {
			case <-leaving:
				left = true
				moves++
			default:
			}
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			t.Errorf("a stream broke: %v", err)
			return moves
		}
		for err == nil {
			_, err = stream.Recv() // to its end
		}
	}
	return moves
}

// A server that refuses at once, and one that is still called after its GOAWAY, says of
// each call that it was not executed: it is made elsewhere, whatever its method.
func TestRefusedCallsAreMadeElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t)
		leaving := s.start(0, lifecycle.Drain{RefuseAtOnce: true})
		other := s.start(0, lifecycle.Drain{})
		events := &log{}
		// Neither the health Watch nor the source tells of the leaving in time.
		client := s.client(events.option(), surecall.WithoutHealthWatch(), surecall.WithSource(frozen{s.registry}))
		go func() { _ = leaving.Drain(t.Context()) }()
		synctest.Wait()
		before := leaving.had()
		for range 50 {
			if _, err := unary(t.Context(), client, placeMethod); err != nil {
				t.Fatal(err)
			}
		}
		if n := leaving.had() - before; n > 0 {
			t.Errorf("%d calls were executed by a server that refuses", n)
		}
		// The first refusal has told that it is leaving.
		if n := len(eventsOf[event.AttemptRetried](events)); n != 1 {
			t.Errorf("%d retries: want the first call's", n)
		}
		if got := stateOf(client, "orders-"+leaving.address); got != event.Draining {
			t.Errorf("state: %v: want %v", got, event.Draining)
		}
		for _, srv := range []*server{leaving, other} {
			if err := srv.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// frozen is a source that never learns anything new.
type frozen struct{ source discovery.Source }

func (f frozen) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	var once sync.Once
	return f.source.Watch(ctx, q, func(s discovery.Snapshot) { once.Do(func() { update(s) }) })
}

// Offline is heard within the millisecond, and so is online again.
func TestOfflineAndOnline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t)
		first, other := s.start(0, lifecycle.Drain{}), s.start(0, lifecycle.Drain{})
		client := s.client(surecall.WithLoss(applyAtOnce))
		share := func() int {
			before := first.had()
			for range 40 {
				if _, err := unary(t.Context(), client, placeMethod); err != nil {
					t.Fatal(err)
				}
			}
			return first.had() - before
		}
		for range 3 {
			if share() == 0 {
				t.Error("online, and no calls")
			}
			drained := make(chan error, 1)
			go func() { drained <- first.Drain(t.Context()) }()
			synctest.Wait()
			if n := share(); n > 0 {
				t.Errorf("%d calls to an instance that is offline", n)
			}
			if err := <-drained; err != nil {
				t.Error(err)
			}
			if err := first.Online(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		for _, srv := range []*server{first, other} {
			if err := srv.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if _, err := unary(t.Context(), client, getMethod); status.Code(err) != codes.Unavailable {
			t.Errorf("with nobody left: %v", err)
		}
	})
}
