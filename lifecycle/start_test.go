package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

func TestStart(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		c.ID, c.Weight, c.Zone, c.Meta = "orders-1", 7, "a", map[string]string{"version": "3"}
	}, func(t *testing.T, r *rig) {
		r.start()
		if got := r.health(); got != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health %v", got)
		}
		set := r.listed()
		if len(set) != 1 {
			t.Fatalf("registered %+v", set)
		}
		i := set[0]
		if i.ID != "orders-1" || i.Address != "10.0.0.1:80" || i.Weight != 7 || i.Zone != "a" || i.Meta["version"] != "3" {
			t.Errorf("registered %+v", i)
		}
		if i.Meta[discovery.MetaLifecycle] != "1" || len(i.Meta[discovery.MetaIncarnation]) < 16 || i.Incarnation != i.Meta[discovery.MetaIncarnation] {
			t.Errorf("meta %q, incarnation %q", i.Meta, i.Incarnation)
		}
		if i.Health != discovery.Passing {
			t.Errorf("health %v: want a first heart-beat at once", i.Health)
		}
		if len(r.config.Meta) != 1 {
			t.Errorf("the caller's map was written to: %q", r.config.Meta)
		}
	})
}

// Each life has an incarnation of its own.
func TestIncarnations(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		inBubble(t, nil, func(_ *testing.T, r *rig) {
			r.start()
			seen[r.entry().Incarnation] = true
		})
	}
	if len(seen) != 3 {
		t.Errorf("3 lives had %d incarnations", len(seen))
	}
}

// Nobody is told of a server before it is warm.
func TestWarmUpComesFirst(t *testing.T) {
	var names []string
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		step := func(name string) lifecycle.Step {
			return lifecycle.Step{Name: name, Run: func(ctx context.Context, conn *grpc.ClientConn) error {
				names = append(names, name)
				if len(r.listed()) != 0 || r.health() != healthpb.HealthCheckResponse_NOT_SERVING {
					t.Errorf("%s: registered %v, health %v: want neither yet", name, r.listed(), r.health())
				}
				_, err := orders.NewOrdersClient(conn).Get(ctx, &orders.GetRequest{})
				return err
			}}
		}
		r.orders.get = func(context.Context) error {
			if unary, streams := r.life.InFlight(); unary+streams != 0 {
				t.Errorf("%d, %d in flight: want the server's own calls uncounted", unary, streams)
			}
			return nil
		}
		c.Steps = []lifecycle.Step{step("one"), step("two")}
	}, func(t *testing.T, r *rig) {
		r.start()
		if !slices.Equal(names, []string{"one", "two"}) {
			t.Errorf("steps %q", names)
		}
		if len(r.listed()) != 1 || r.health() != healthpb.HealthCheckResponse_SERVING {
			t.Error("want it online afterwards")
		}
	})
}

func TestWarmUpFails(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		name     string
		step     lifecycle.Step
		optional bool
		want     string
		takes    time.Duration
	}{
		{"error", lifecycle.Step{Run: func(context.Context, *grpc.ClientConn) error { return boom }}, false, "boom", 0},
		{"timeout", lifecycle.Step{Timeout: time.Second, Run: wait}, false, "deadline exceeded", time.Second},
		{"default timeout", lifecycle.Step{Run: wait}, false, "deadline exceeded", 30 * time.Second},
		{"optional", lifecycle.Step{Timeout: time.Second, Run: wait}, true, "", time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hooked := false
			inBubble(t, func(_ *rig, c *lifecycle.Config) {
				tc.step.Name, tc.step.Optional = "cache", tc.optional
				c.Steps = []lifecycle.Step{tc.step}
				c.Hooks = []lifecycle.Hook{{Name: "db", Run: func(context.Context) error { hooked = true; return nil }}}
			}, func(t *testing.T, r *rig) {
				began := time.Now()
				err := r.life.Start(t.Context(), r.server)
				if took := time.Since(began); took != tc.takes {
					t.Errorf("took %v, want %v", took, tc.takes)
				}
				if tc.want == "" {
					_, steps := r.took()
					if err != nil || len(r.listed()) != 1 || steps["warm up: cache"].Err == nil {
						t.Errorf("error %v, registered %v, steps %v: want it reported and passed over", err, r.listed(), steps)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), `"cache"`) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v: want the step's name and %q", err, tc.want)
				}
				if len(r.listed()) != 0 || !hooked {
					t.Errorf("registered %v, hooked %v: want nothing left", r.listed(), hooked)
				}
				if _, err := r.get(); err == nil {
					t.Error("it still serves")
				}
			})
		})
	}
}

func wait(ctx context.Context, _ *grpc.ClientConn) error { <-ctx.Done(); return ctx.Err() }

// Each mistake in how the server was made is told at the start.
func TestServerMadeWrong(t *testing.T) {
	own := health.NewServer()
	for _, tc := range []struct {
		name   string
		health *health.Server
		server func(*lifecycle.Life) *grpc.Server
		want   string
	}{
		{"no options", nil, func(*lifecycle.Life) *grpc.Server { return grpc.NewServer() }, "ServerOptions"},
		{"of another life", nil, func(*lifecycle.Life) *grpc.Server {
			return grpc.NewServer(lifecycle.New(lifecycle.Config{}).ServerOptions()...)
		}, "ServerOptions"},
		{"a health service we do not know", nil, func(l *lifecycle.Life) *grpc.Server {
			s := grpc.NewServer(l.ServerOptions()...)
			healthpb.RegisterHealthServer(s, own)
			return s
		}, "Config.Health"},
		{"its own health service", own, func(l *lifecycle.Life) *grpc.Server {
			s := grpc.NewServer(l.ServerOptions()...)
			healthpb.RegisterHealthServer(s, own)
			return s
		}, ""},
		{"stopped", nil, func(l *lifecycle.Life) *grpc.Server {
			s := grpc.NewServer(l.ServerOptions()...)
			healthpb.RegisterHealthServer(s, own)
			s.Stop()
			return s
		}, "Config.Health"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(_ *rig, c *lifecycle.Config) { c.Health = tc.health }, func(t *testing.T, r *rig) {
				err := r.life.Start(t.Context(), tc.server(r.life))
				if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v: want %q", err, tc.want)
				}
				if err != nil && len(r.listed()) != 0 {
					t.Error("it is registered")
				}
			})
		})
	}
}

// A registry that does not answer neither ends nor blocks the server, and is not given up.
func TestRegistryDownAtStart(t *testing.T) {
	inBubble(t, func(r *rig, _ *lifecycle.Config) {
		r.registry.Fail(errors.New("no leader"))
	}, func(t *testing.T, r *rig) {
		r.start()
		if _, err := r.get(); err != nil {
			t.Errorf("it does not serve: %v", err)
		}
		time.Sleep(time.Hour)
		r.registry.Recover()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(r.listed()) != 1 {
			t.Error("not registered 5 s after the registry came back")
		}
	})
}

// A registry that hangs, and however many of them, holds nobody up for longer than 3 s.
func TestRegistryHangsAtStart(t *testing.T) {
	hangs := &hangingRegistrar{}
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		hangs.release = make(chan struct{}) // of the bubble
		time.AfterFunc(time.Minute, func() { close(hangs.release) })
		c.Registrars = []discovery.Registrar{hangs, hangs, r.registry}
	}, func(t *testing.T, r *rig) {
		began := time.Now()
		r.start()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the start took %v, want 3 s", took)
		}
		if _, err := r.get(); err != nil {
			t.Errorf("it does not serve: %v", err)
		}
		r.entry()
		<-r.drain()
		began = time.Now()
		if err := r.life.Online(t.Context()); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("online: error %v after %v, want 3 s", err, time.Since(began))
		}
		<-hangs.release
	})
}

// hangingRegistrar does not even listen to its context.
type hangingRegistrar struct{ release chan struct{} }

func (h *hangingRegistrar) Register(context.Context, discovery.Registration) (discovery.Lease, error) {
	<-h.release
	return nil, errors.New("gone")
}

// The heart-beat is the server's own answer.
func TestHeartBeatIsReal(t *testing.T) {
	hang := make(chan struct{})
	inBubble(t, nil, func(t *testing.T, r *rig) {
		inner := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			select {
			case <-hang: // closed: it hangs
				<-ctx.Done()
				return nil, ctx.Err()
			default:
				return h(ctx, req)
			}
		}
		r.server = grpc.NewServer(append(r.life.ServerOptions(), grpc.ChainUnaryInterceptor(inner))...)
		r.start()
		time.Sleep(time.Minute)
		if h := r.entry().Health; h != discovery.Passing {
			t.Errorf("%v: want passing", h)
		}
		r.life.Health().SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		time.Sleep(6 * time.Second)
		if h := r.entry().Health; h != discovery.Critical {
			t.Errorf("NOT_SERVING: %v, want critical", h)
		}
		r.life.Health().SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
		time.Sleep(6 * time.Second)
		if h := r.entry().Health; h != discovery.Passing {
			t.Errorf("SERVING: %v, want passing", h)
		}
		close(hang)
		time.Sleep(10 * time.Second)
		if h := r.entry().Health; h != discovery.Critical {
			t.Errorf("the server hangs: %v, want critical", h)
		}
	})
}

// An interceptor that rejects the heart-beat's check answers, and so does the server.
func TestRejectedProbesAreAnswers(t *testing.T) {
	for _, code := range []codes.Code{codes.Unauthenticated, codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted} {
		inBubble(t, nil, func(t *testing.T, r *rig) {
			reject := func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
				return nil, status.Error(code, "not you")
			}
			r.server = grpc.NewServer(append(r.life.ServerOptions(), grpc.ChainUnaryInterceptor(reject))...)
			r.start()
			time.Sleep(time.Minute)
			if h := r.entry().Health; h != discovery.Passing {
				t.Errorf("%v: %v, want passing", code, h)
			}
			r.life.Health().SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
			time.Sleep(6 * time.Second)
			if h := r.entry().Health; h != discovery.Critical {
				t.Errorf("%v: %v, want the status to count", code, h)
			}
		})
	}
}

// Stop ends a start, from whichever goroutine.
func TestStopWhileStarting(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		c.Steps = []lifecycle.Step{{Name: "cache", Run: wait}}
	}, func(t *testing.T, r *rig) {
		time.AfterFunc(time.Second, func() { _ = r.life.Stop(t.Context()) })
		if err := r.life.Start(t.Context(), r.server); err == nil || !strings.Contains(err.Error(), "stopped before it was online") {
			t.Errorf("error %v", err)
		}
		if len(r.listed()) != 0 {
			t.Error("it is registered")
		}
	})
}
