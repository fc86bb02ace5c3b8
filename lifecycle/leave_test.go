package lifecycle_test

import (
	"context"
	"errors"
	"slices"
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

// drain begins one and returns what tells its end.
func (r *rig) drain() <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.life.Drain(r.t.Context()) }()
	synctest.Wait()
	return ended
}

func over(ended <-chan error) bool {
	synctest.Wait()
	return len(ended) > 0
}

// holds makes each Get take until the returned function is called, whatever its context.
func (r *rig) holds() (release func()) {
	ch := make(chan struct{})
	r.orders.get = func(context.Context) error { <-ch; return nil }
	return func() { close(ch) }
}

func (r *rig) goGet(pairs ...string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := r.get(pairs...)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// An idle server leaves in the time that its callers need to hear of it.
func TestLeaveIdle(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		for _, name := range []string{"first", "second"} {
			c.Hooks = append(c.Hooks, lifecycle.Hook{Name: name, Run: func(context.Context) error { return nil }})
		}
	}, func(t *testing.T, r *rig) {
		r.start()
		began := time.Now()
		if err := r.life.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v: want the propagation's 2 s, in which it was quiet", took)
		}
		names, steps := r.took()
		want := []string{"deregister", "propagation", "adaptive wait", "graceful stop", "hook: first", "hook: second"}
		if !slices.Equal(names, want) || steps["propagation"].Took != 2*time.Second {
			t.Errorf("steps %q, want %q; propagation took %v", names, want, steps["propagation"].Took)
		}
		if len(r.listed()) != 0 {
			t.Error("it is still registered")
		}
	})
}

// (a), (b) and (c) happen at once.
func TestLeaveIsAnnouncedAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		watch, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: orders.Orders_ServiceDesc.ServiceName})
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := watch.Recv(); err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("%v, error %v", answer, err)
		}
		if trailer, err := r.get(wire.AttemptID, "a1"); err != nil || len(trailer) != 0 {
			t.Errorf("online: trailer %v, error %v", trailer, err)
		}
		began := time.Now()
		r.drain()
		if answer, err := watch.Recv(); err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("pushed %v, error %v", answer, err)
		}
		if len(r.listed()) != 0 {
			t.Error("it is still registered")
		}
		trailer, err := r.get(wire.AttemptID, "a1")
		if got := trailer[wire.Draining]; err != nil || !slices.Equal(got, []string{"a1"}) || len(trailer[wire.Unexecuted]) != 0 {
			t.Errorf("trailer %v, error %v: want it served, with the attempt's own ID", trailer, err)
		}
		if trailer, _ := r.get(); !slices.Equal(trailer[wire.Draining], []string{"1"}) {
			t.Errorf("trailer %v: want 1 without an ID", trailer)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("all that took %v", took)
		}
	})
}

// (b) A registry that does not answer holds a server for 3 s.
func TestDeregisterIsBounded(t *testing.T) {
	inBubble(t, func(r *rig, c *lifecycle.Config) { c.Registrars = []discovery.Registrar{stuckRegistrar{r.registry}} }, func(t *testing.T, r *rig) {
		r.start()
		began := time.Now()
		if err := r.life.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		_, steps := r.took()
		if d := steps["deregister"]; d.Took != 3*time.Second || d.Err == nil {
			t.Errorf("%+v: want 3 s and an error", d)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v, want 5 s", took)
		}
	})
}

// stuckRegistrar does not get a registration out.
type stuckRegistrar struct{ discovery.Registrar }

func (s stuckRegistrar) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	lease, err := s.Registrar.Register(ctx, r)
	return stuckLease{lease}, err
}

type stuckLease struct{ discovery.Lease }

func (l stuckLease) Release(ctx context.Context) error {
	<-ctx.Done()
	return errors.Join(ctx.Err(), l.Lease.Release(context.WithoutCancel(ctx)))
}

// (d) Whoever has not heard of it yet is served, whether the marks are known or not.
func TestPropagationServes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		ended := r.drain()
		for range 19 {
			time.Sleep(100 * time.Millisecond)
			for _, pairs := range [][]string{nil, {wire.AttemptID, "a"}} {
				if _, err := r.get(pairs...); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(499 * time.Millisecond) // since the last call
		if over(ended) {
			t.Error("drained before it was quiet for 500 ms")
		}
		time.Sleep(time.Millisecond)
		if !over(ended) {
			t.Error("not drained after 500 ms of quiet")
		}
	})
}

// (e) The drain ends with the last call, and not before.
func TestWaitFollowsTheCalls(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		release := r.holds()
		call := r.goGet()
		ended := r.drain()
		time.Sleep(7 * time.Second)
		if over(ended) {
			t.Error("drained with a call in flight")
		}
		if unary, _ := r.life.InFlight(); unary != 1 {
			t.Errorf("%d in flight", unary)
		}
		release()
		if !over(ended) || <-call != nil {
			t.Error("not drained when the call had ended")
		}
	})
}

// (e) is bounded, whatever callers do.
func TestWaitIsBounded(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		ended := r.drain()
		for n := range 120 {
			if over(ended) {
				t.Fatalf("ended at %d00 ms, with a new call each 100 ms", n)
			}
			if _, err := r.get(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !over(ended) || <-ended != nil {
			t.Error("not over after 2 + 10 s")
		}
		_, steps := r.took()
		if steps["adaptive wait"].Err == nil {
			t.Error("want it reported that calls still came")
		}
	})
}

// However many ask, and however often, there is one drain.
func TestOneDrain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		first, second := r.drain(), r.drain()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.life.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("its waiting ended: %v", err)
		}
		if err := errors.Join(<-first, <-second, r.life.Drain(t.Context())); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour) // the process lives on, offline
		if _, err := r.get(); err != nil {
			t.Errorf("drained, not stopped: %v", err)
		}
		began := time.Now()
		third := make(chan error, 1)
		go func() { third <- r.life.Stop(t.Context()) }()
		if err := errors.Join(r.life.Stop(t.Context()), <-third); err != nil || time.Since(began) != 0 {
			t.Errorf("error %v after %v: want no second drain", err, time.Since(began))
		}
		names, _ := r.took()
		if want := []string{"deregister", "propagation", "adaptive wait", "graceful stop"}; !slices.Equal(names, want) {
			t.Errorf("steps %q, want %q", names, want)
		}
	})
}

// A long stream hears that it should move, and holds nothing up then.
func TestDraining(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.orders.watch = func(s grpc.ServerStreamingServer[orders.Order]) error {
			ctx := context.WithValue(s.Context(), "k", "v") //nolint:revive,staticcheck // any derived context will do
			select {
			case <-lifecycle.Draining(ctx):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r.start()
		stream, err := r.client.Watch(t.Context(), &orders.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.AfterFunc(time.Minute, func() { _ = r.life.Stop(t.Context()) })
		if err := receive(stream); err != nil || time.Since(began) != time.Minute {
			t.Errorf("error %v after %v: want its end when leaving begins", err, time.Since(began))
		}
		if got := stream.Trailer()[wire.Draining]; !slices.Equal(got, []string{"1"}) {
			t.Errorf("mark %q", got)
		}
		if lifecycle.Draining(t.Context()) != nil {
			t.Error("a context from elsewhere has a channel")
		}
	})
}
