package surecalltest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/pipe"
)

// Instance is one server of a cluster. Its methods may be called at any time.
type Instance struct {
	cluster *Cluster
	id      string
	calls   atomic.Int64
	dials   atomic.Int64

	mu         sync.Mutex
	listed     discovery.Instance
	isListed   bool
	listener   *pipe.Listener // nil: not running
	server     *grpc.Server
	served     chan struct{}
	health     *health.Server
	notServing bool
	hang       chan struct{} // closed by Resume; nil: does not hang
	delay      time.Duration
	fail       func(method string, call int64) error
}

// ID is the ID that the instance is registered under.
func (i *Instance) ID() string { return i.id }

// Address is where the instance is registered, for [Cluster.Dial]. It leads nowhere else.
func (i *Instance) Address() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.listed.Address
}

// Calls is how many calls have reached the instance, failing ones included. Health checks
// are not counted.
func (i *Instance) Calls() int { return int(i.calls.Load()) }

// Dials is how many connections to it have been made.
func (i *Instance) Dials() int { return int(i.dials.Load()) }

// Start runs the server, if it does not run.
func (i *Instance) Start() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.server != nil {
		return
	}
	i.listener, i.served = pipe.Listen(), make(chan struct{})
	i.server = grpc.NewServer(grpc.UnaryInterceptor(i.unary), grpc.StreamInterceptor(i.stream))
	i.cluster.register(i.server, i)
	if i.health = health.NewServer(); i.notServing {
		i.health.Shutdown()
	}
	healthpb.RegisterHealthServer(i.server, i.health)
	go func(s *grpc.Server, l net.Listener, done chan struct{}) {
		defer close(done)
		_ = s.Serve(stoppable{l, i})
	}(i.server, i.listener, i.served)
}

// Kill ends the server and all its connections at once. It stays listed.
func (i *Instance) Kill() { i.end((*grpc.Server).Stop) }

// Stop ends the server gracefully, after the calls in flight. It stays listed.
func (i *Instance) Stop() { i.end((*grpc.Server).GracefulStop) }

func (i *Instance) end(how func(*grpc.Server)) {
	i.mu.Lock()
	server, served := i.server, i.served
	i.server, i.listener = nil, nil
	i.mu.Unlock()
	if server != nil {
		how(server)
		<-served
	}
}

// List registers the instance.
func (i *Instance) List() { i.list(func(*discovery.Instance) { i.isListed = true }) }

// Delist takes it out of the registry. It goes on running.
func (i *Instance) Delist() { i.list(func(*discovery.Instance) { i.isListed = false }) }

// Change registers it with whatever change makes of it: a weight, a health, a new
// incarnation. The address must stay.
func (i *Instance) Change(change func(*discovery.Instance)) { i.list(change) }

func (i *Instance) list(change func(*discovery.Instance)) {
	i.mu.Lock()
	change(&i.listed)
	i.mu.Unlock()
	i.cluster.publish()
}

// Hang stops the instance as SIGSTOP does a process: it takes connections and whatever is
// sent, reads nothing and answers nothing, until Resume or its end. For calls that hang
// while their server lives, see Delay.
func (i *Instance) Hang() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.hang == nil {
		i.hang = make(chan struct{})
	}
}

// Resume ends Hang: what waited is read, and answered.
func (i *Instance) Resume() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.hang != nil {
		close(i.hang)
		i.hang = nil
	}
}

// Serving is what the instance's health service says of it from now on, in its next lives
// too. It serves in either case.
func (i *Instance) Serving(serving bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.notServing = !serving
	switch {
	case i.health == nil:
	case serving:
		i.health.Resume()
	default:
		i.health.Shutdown()
	}
}

// Delay makes every call take d.
func (i *Instance) Delay(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.delay = d
}

// Fail makes every call end with code. codes.OK ends that.
func (i *Instance) Fail(code codes.Code) {
	if code == codes.OK {
		i.FailFunc(nil)
		return
	}
	i.FailFunc(func(string, int64) error { return status.Errorf(code, "%s was told to fail", i.id) })
}

// FailFunc asks fail of every call, with its full method and its number at this
// instance from 1, whether to end it with an error.
func (i *Instance) FailFunc(fail func(method string, call int64) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

func (i *Instance) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := i.meet(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (i *Instance) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := i.meet(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(srv, ss)
}

// meet is what a call meets before its handler. Health checks meet nothing.
func (i *Instance) meet(ctx context.Context, method string) error {
	if strings.HasPrefix(method, "/grpc.health.v1.Health/") {
		return nil
	}
	call := i.calls.Add(1)
	i.mu.Lock()
	delay, fail := i.delay, i.fail
	i.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if fail != nil {
		return fail(method, call)
	}
	return nil
}

func (i *Instance) dial(ctx context.Context) (net.Conn, error) {
	i.mu.Lock()
	l, address := i.listener, i.listed.Address
	i.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial tcp %s: connect: %w", address, syscall.ECONNREFUSED)
	}
	i.dials.Add(1)
	return l.DialContext(ctx)
}
