package surecalltest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/lifecycle"
)

// life is an instance from one start to the end that follows.
type life struct {
	instance *Instance
	listener *pipe.Listener
	server   *grpc.Server
	health   *health.Server
	managed  *lifecycle.Life // nil: a plain server
	served   chan struct{}   // closed when the server accepts nothing any more
	killed   chan struct{}   // closed before its end by Kill: no call is executed, or answered, from then on
}

// newLife returns a life that takes connections, and does not serve them yet. i.mu is held.
func (i *Instance) newLife() *life {
	l := &life{
		instance: i, listener: pipe.Listen(), health: health.NewServer(),
		served: make(chan struct{}), killed: make(chan struct{}),
	}
	var options []grpc.ServerOption
	if i.drain != nil {
		l.managed = lifecycle.New(lifecycle.Config{
			Service: Service, ID: i.id, Address: i.listed.Address, Listener: listener{l.listener, i},
			Health: l.health, Drain: *i.drain, Logger: slog.New(slog.DiscardHandler),
		})
		options = l.managed.ServerOptions()
	}
	options = append(options, grpc.ChainUnaryInterceptor(l.unary), grpc.ChainStreamInterceptor(l.stream))
	l.server = grpc.NewServer(append(options, i.cluster.options...)...)
	return l
}

// serve begins to serve.
func (l *life) serve() {
	l.instance.cluster.register(l.server, l.instance)
	healthpb.RegisterHealthServer(l.server, l.health)
	if l.managed == nil {
		go func() {
			defer close(l.served)
			_ = l.server.Serve(listener{l.listener, l.instance})
		}()
		return
	}
	defer close(l.served)
	if err := l.managed.Start(context.Background(), l.server); err != nil && l.instance.runs(l) {
		l.instance.cluster.errorf("start %s: %v", l.instance.id, err)
	}
}

var errKilled = status.Error(codes.Unavailable, "killed") // which nobody gets to see

func (l *life) isKilled() bool {
	select {
	case <-l.killed:
		return true
	default:
		return false
	}
}

// kill ends one that was detached at once.
func (l *life) kill() {
	l.server.Stop()
	<-l.served
	if l.managed != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		// It waits for handlers, and Kill does not.
		l.instance.cluster.later(func() { _ = l.managed.Stop(now) })
	}
}

// stop ends it after the calls in flight.
func (l *life) stop() {
	if l.managed != nil {
		<-l.served
		_ = l.managed.Stop(context.Background())
		return
	}
	l.server.GracefulStop()
	<-l.served
}

// runs reports whether l is the present life.
func (i *Instance) runs(l *life) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.life == l
}

// isLifecycle makes the registration that of a server of package lifecycle in its n-th
// life. i.mu is held.
func (i *Instance) isLifecycle(n int) {
	meta := map[string]string{}
	maps.Copy(meta, i.listed.Meta)
	i.listed.Incarnation = fmt.Sprintf("%s-life-%d", i.id, n)
	meta[discovery.MetaLifecycle], meta[discovery.MetaIncarnation] = "1", i.listed.Incarnation
	i.listed.Meta = meta
}
