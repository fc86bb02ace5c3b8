package lifecycle_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
)

// Online takes back all that Drain did, in whichever step it comes.
func TestOnline(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 2500 * time.Millisecond, time.Hour} {
		inBubble(t, nil, func(t *testing.T, r *rig) {
			r.start()
			first := r.entry().Incarnation
			r.life.Health().SetServingStatus("other", healthpb.HealthCheckResponse_NOT_SERVING)
			release := r.holds()
			call := r.goGet()
			drained := r.drain()
			time.Sleep(after)
			if err := r.life.Online(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-drained; (err != nil) != (after < time.Hour) {
				t.Errorf("after %v, the drain: %v", after, err)
			}
			release()
			<-call
			r.orders.get = nil
			if trailer, err := r.get(); err != nil || len(trailer) > 0 {
				t.Errorf("after %v: trailer %v, error %v: want no mark", after, trailer, err)
			}
			if set := r.listed(); len(set) != 1 || set[0].Incarnation != first {
				t.Errorf("after %v: registered %+v, want incarnation %s", after, set, first)
			}
			if h := r.health(); h != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("after %v: %v", after, h)
			}
			other, err := r.life.Health().Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"})
			if err != nil || other.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
				t.Errorf("what the program had set is %v, error %v", other, err)
			}
			if err := errors.Join(r.life.Online(t.Context()), <-r.drain()); err != nil {
				t.Errorf("once more, and offline again: %v", err)
			}
			if len(r.listed()) != 0 || r.health() != healthpb.HealthCheckResponse_NOT_SERVING {
				t.Error("not offline again")
			}
		})
	}
}

func TestOnlineTooLate(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		if r.life.Online(t.Context()) == nil || r.life.Drain(t.Context()) == nil {
			t.Error("before the start: want errors")
		}
		r.start()
		stopped := make(chan error, 1)
		go func() { stopped <- r.life.Stop(t.Context()) }()
		synctest.Wait()
		if r.life.Online(t.Context()) == nil {
			t.Error("stopping: want an error")
		}
		<-stopped
		if r.life.Online(t.Context()) == nil || r.life.Start(t.Context(), r.server) == nil {
			t.Error("stopped: want errors")
		}
		if err := r.life.Drain(t.Context()); err != nil {
			t.Errorf("stopped is drained: %v", err)
		}
	})
}

// While a removal is under way nothing is registered that it would take out again.
func TestOnlineWhileDeregistering(t *testing.T) {
	slow := &slowRegistrar{}
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		slow.Registrar = r.registry
		c.Registrars[0] = slow
	}, func(t *testing.T, r *rig) {
		r.start()
		drained := r.drain()
		online := make(chan error, 1)
		go func() { online <- r.life.Online(t.Context()) }()
		synctest.Wait()
		if trailer, err := r.get(); err != nil || len(trailer) > 0 || r.health() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("trailer %v, error %v, %v: want all that lifted at once", trailer, err, r.health())
		}
		again := r.drain() // and changes its mind, twice
		if err := errors.Join(<-online, r.life.Online(t.Context())); err != nil {
			t.Error(err)
		}
		if <-drained == nil || <-again == nil {
			t.Error("want both drains to say that they were taken back")
		}
		slow.mu.Lock()
		defer slow.mu.Unlock()
		if want := []string{"register", "release", "released", "register"}; !slices.Equal(slow.did, want) {
			t.Errorf("%q, want %q", slow.did, want)
		}
		r.entry()
	})
}

// Who gives up waiting for Online does not keep the server from being registered.
func TestOnlineIsNotWaitedFor(t *testing.T) {
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		c.Registrars[0] = &slowRegistrar{Registrar: r.registry}
	}, func(t *testing.T, r *rig) {
		r.start()
		r.drain()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := r.life.Online(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r.entry()
	})
}

// slowRegistrar takes a second to take out, and says what it does.
type slowRegistrar struct {
	discovery.Registrar
	mu  sync.Mutex
	did []string
}

func (s *slowRegistrar) do(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, what)
}

func (s *slowRegistrar) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	s.do("register")
	lease, err := s.Registrar.Register(ctx, r)
	return slowLease{lease, s}, err
}

type slowLease struct {
	discovery.Lease
	registrar *slowRegistrar
}

func (l slowLease) Release(ctx context.Context) error {
	l.registrar.do("release")
	time.Sleep(time.Second)
	defer l.registrar.do("released")
	return l.Lease.Release(ctx)
}

// A server that is told to be offline while it warms up gets warm and stays offline.
func TestDrainWhileWarmingUp(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		c.Steps = []lifecycle.Step{{Name: "cache", Run: func(context.Context, *grpc.ClientConn) error { time.Sleep(time.Second); return nil }}}
	}, func(t *testing.T, r *rig) {
		started := make(chan error, 1)
		go func() { started <- r.life.Start(t.Context(), r.server) }()
		synctest.Wait()
		if err := r.life.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-started; err != nil || len(r.listed()) != 0 || r.health() != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("error %v, registered %v, health %v", err, r.listed(), r.health())
		}
		if trailer, err := r.get(); err != nil || !slices.Equal(trailer[wire.Draining], []string{"1"}) {
			t.Errorf("trailer %v, error %v", trailer, err)
		}
		if err := r.life.Online(t.Context()); err != nil || len(r.listed()) != 1 || r.health() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("error %v, registered %v, health %v", err, r.listed(), r.health())
		}
	})
}

// Each leaving has its own channel.
func TestDrainingAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		var closed []bool
		r.orders.get = func(ctx context.Context) error {
			select {
			case <-lifecycle.Draining(ctx):
				closed = append(closed, true)
			default:
				closed = append(closed, false)
			}
			return nil
		}
		r.start()
		for range 2 {
			_, _ = r.client.Get(t.Context(), &orders.GetRequest{})
			<-r.drain()
			_, _ = r.client.Get(t.Context(), &orders.GetRequest{})
			if err := r.life.Online(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if want := []bool{false, true, false, true}; !slices.Equal(closed, want) {
			t.Errorf("closed %v, want %v", closed, want)
		}
	})
}

// Whatever order they are told to leave and to come back in, and by however many, servers
// end as the last one said, registered once or not at all.
func TestOnlineAndOfflineAtRandom(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, func(r *rig, c *lifecycle.Config) {
			c.Registrars[0] = &slowRegistrar{Registrar: r.registry}
		}, func(t *testing.T, r *rig) {
			r.start()
			var all sync.WaitGroup
			for worker := range uint64(4) {
				all.Go(func() {
					random := rand.New(rand.NewPCG(seed, worker))
					for range 30 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(4000))*time.Millisecond)
						if random.IntN(2) == 0 {
							_ = r.life.Drain(ctx)
						} else {
							_ = r.life.Online(ctx)
						}
						cancel()
						time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
					}
				})
			}
			all.Wait()
			online := seed%2 == 0
			if online {
				if err := r.life.Online(t.Context()); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			} else if err := r.life.Drain(t.Context()); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			trailer, err := r.get()
			registered, serving := len(r.listed()) == 1, r.health() == healthpb.HealthCheckResponse_SERVING
			if err != nil || registered != online || serving != online || (len(trailer) == 0) != online {
				t.Errorf("seed %d: online %v: registered %v, SERVING %v, trailer %v, error %v", seed, online, registered, serving, trailer, err)
			}
		})
	}
}
