package lifecycle_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
)

// (f) Callers that know the mark are refused; others are served until their connection ends.
func TestRefuse(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		inBubble(t, func(_ *rig, c *lifecycle.Config) { c.Drain.RefuseAtOnce = atOnce }, func(t *testing.T, r *rig) {
			executed := 0
			r.orders.get = func(context.Context) error { executed++; return nil }
			r.start()
			release := make(chan struct{})
			r.orders.watch = func(grpc.ServerStreamingServer[orders.Order]) error { <-release; return nil }
			stream, err := r.client.Watch(t.Context(), &orders.GetRequest{})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.drain()
			trailer, err := r.get(wire.AttemptID, "stale", wire.AttemptID, "a1")
			refused := status.Code(err) == codes.Unavailable && slices.Equal(trailer[wire.Unexecuted], []string{"a1"}) &&
				slices.Equal(trailer[wire.Draining], []string{"a1"})
			if refused != atOnce || executed != map[bool]int{true: 0, false: 1}[atOnce] {
				t.Errorf("at once %v: error %v, trailer %v, executed %d", atOnce, err, trailer, executed)
			}
			if trailer, err := r.get(); err != nil || len(trailer[wire.Unexecuted]) != 0 {
				t.Errorf("a plain caller: error %v, trailer %v: want it served", err, trailer)
			}
			close(release)
			if err := receive(stream); err != nil {
				t.Error(err)
			}
		})
	}
}

// (f) What is sent before the GOAWAY is seen meets the same rule.
func TestRefuseAfterGoAway(t *testing.T) {
	const lag = 100 * time.Millisecond
	for _, known := range []bool{true, false} {
		inBubble(t, nil, func(t *testing.T, r *rig) {
			executed := 0
			r.start()
			_ = r.conn.Close()
			r.conn = dialWith(t, func(ctx context.Context) (net.Conn, error) {
				conn, err := r.lis.DialContext(ctx)
				return lagging{conn, lag}, err
			})
			r.client = orders.NewOrdersClient(r.conn)
			defer func() {
				_ = r.conn.Close()
				time.Sleep(2 * lag) // what lags behind
			}()
			if _, err := r.get(); err != nil {
				t.Fatal(err)
			}
			r.orders.get = func(context.Context) error { executed++; return nil }
			<-r.drain()
			time.AfterFunc(lag/4, func() { _ = r.life.Stop(t.Context()) })
			time.Sleep(lag / 2)
			if !known {
				if trailer, err := r.get(); err != nil || executed != 1 {
					t.Errorf("a plain caller: error %v, trailer %v, executed %d", err, trailer, executed)
				}
				return
			}
			trailer, err := r.get(wire.AttemptID, "a1")
			if status.Code(err) != codes.Unavailable || !slices.Equal(trailer[wire.Unexecuted], []string{"a1"}) || executed != 0 {
				t.Errorf("error %v, trailer %v, executed %d: want it refused", err, trailer, executed)
			}
		})
	}
}

// lagging is a connection whose other side is heard late.
type lagging struct {
	net.Conn
	lag time.Duration
}

func (l lagging) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	time.Sleep(l.lag)
	return n, err
}

// (g) Calls are cut off at the bound, and handlers that ignore it are waited for.
func TestStopIsBounded(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		release := r.holds()
		call := r.goGet()
		began, stopped := time.Now(), make(chan error, 1)
		go func() { stopped <- r.life.Stop(t.Context()) }()
		if err := <-call; status.Code(err) != codes.Unavailable {
			t.Errorf("the call: %v", err)
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("cut off after %v, want 2 + 10 + 3 s", took)
		}
		time.Sleep(time.Hour)
		if over(stopped) {
			t.Error("stopped while a handler runs")
		}
		release()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if _, steps := r.took(); steps["graceful stop"].Err == nil {
			t.Error("want it reported that a call was cut off")
		}
	})
}

// (h) Hooks run in order when no handler runs any more; an error is told and stops none.
func TestHooks(t *testing.T) {
	var ran []string
	boom := errors.New("boom")
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		hook := func(name string, err error) lifecycle.Hook {
			return lifecycle.Hook{Name: name, Run: func(context.Context) error {
				if unary, streams := r.life.InFlight(); unary+streams > 0 {
					t.Errorf("%s runs beside a handler", name)
				}
				ran = append(ran, name)
				return err
			}}
		}
		c.Hooks = []lifecycle.Hook{hook("flush", boom), hook("close", nil)}
	}, func(t *testing.T, r *rig) {
		r.start()
		release := r.holds()
		r.goGet()
		time.AfterFunc(time.Minute, release)
		err := r.life.Stop(t.Context())
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), `"flush"`) || !slices.Equal(ran, []string{"flush", "close"}) {
			t.Errorf("ran %q, error %v", ran, err)
		}
	})
}

// (h) The hooks share a bound, which one that waits for its context ends with.
func TestHooksAreBounded(t *testing.T) {
	for _, tc := range []struct{ limit, want time.Duration }{{0, 3 * time.Second}, {time.Second, time.Second}} {
		ran := 0
		inBubble(t, func(_ *rig, c *lifecycle.Config) {
			c.Drain.Hooks = tc.limit
			hook := lifecycle.Hook{Name: "flush", Run: func(ctx context.Context) error { ran++; <-ctx.Done(); return ctx.Err() }}
			c.Hooks = []lifecycle.Hook{hook, hook}
		}, func(t *testing.T, r *rig) {
			r.start()
			<-r.drain()
			began := time.Now()
			err := r.life.Stop(t.Context())
			if took := time.Since(began); took != tc.want || ran != 2 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Drain.Hooks %v: %d hooks ran for %v, error %v: want %v", tc.limit, ran, took, err, tc.want)
			}
		})
	}
}
