package surecall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/surecall/surecall/resolver"
)

const (
	// userTimeout is how long sent data may stay unacknowledged before the kernel gives
	// a connection up (Linux): without it a black hole takes fifteen minutes to show.
	userTimeout = 5 * time.Second
	// minConnectTimeout is how long a dial may take at least. gRPC's 20 s would leave a
	// black-holed instance connecting for that long.
	minConnectTimeout = 2 * time.Second
)

// reconnect is how lost connections are dialled again. gRPC's own goes up to two
// minutes, in which a restarted instance would stand idle. The multiplier keeps every
// wait of the first second under half a second: an instance that is back after one
// second is in use 500 ms later.
var reconnect = backoff.Config{
	BaseDelay:  100 * time.Millisecond,
	Multiplier: 1.3,
	Jitter:     0.2,
	MaxDelay:   3 * time.Second,
}

// dialOptions are gRPC's options that make a connection ours.
func (c *core) dialOptions(t *target, s *settings) []grpc.DialOption {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(s.credentials),
		grpc.WithDisableRetry(), // ours would multiply with it
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(c.fleet.ServiceConfig()),
		grpc.WithIdleTimeout(s.idle),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: minConnectTimeout}),
	}
	if t.open != nil {
		opts = append(opts, grpc.WithResolvers(resolver.NewBuilder(resolver.Config{
			Scheme: strings.SplitN(t.dial, ":", 2)[0], Authority: t.authority,
			Open: t.open, Query: t.query, Loss: s.loss, Snapshots: s.snapshots, Events: c.emit, Monitor: &c.source,
		})))
	}
	switch {
	case s.dialer != nil:
		opts = append(opts, grpc.WithContextDialer(c.conns.dialer(withUserTimeout(s.dialer))))
	case t.open != nil:
		// A dialer of its own also keeps a proxy out: behind one, gRPC would collapse all
		// instances into one. For gRPC's own targets HTTPS_PROXY works as always.
		opts = append(opts, grpc.WithContextDialer(c.conns.dialer(dial)))
	}
	opts = append(opts, s.dial...)
	// After the user's own, so that theirs run outside.
	return append(opts, grpc.WithChainUnaryInterceptor(c.unary), grpc.WithChainStreamInterceptor(c.stream))
}

// dial connects to "host:port" or "unix:path".
func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Control: setUserTimeout}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		d.Control = nil
		return d.DialContext(ctx, "unix", strings.TrimPrefix(path, "//"))
	}
	return d.DialContext(ctx, "tcp", address)
}

// withUserTimeout returns a dialer whose TCP connections have the timeout of ours.
func withUserTimeout(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			if raw, err := tcp.SyscallConn(); err == nil {
				_ = setUserTimeout("", "", raw) // without it, a black hole only shows later
			}
		}
		return conn, err
	}
}

// owned are gRPC's dial options that surecall sets, with what to use instead.
var owned = map[string]string{
	"WithTransportCredentials": "surecall.WithTransportCredentials",
	"WithInsecure":             "surecall.WithInsecure",
	"WithCredentialsBundle":    "surecall.WithTransportCredentials",
	"WithContextDialer":        "surecall.WithContextDialer",
	"WithDialer":               "surecall.WithContextDialer",
	"WithIdleTimeout":          "surecall.WithIdleTimeout",
	"WithResolvers":            "surecall.WithSource",
	"WithDefaultServiceConfig": "surecall's options: the service config selects its balancer",
	"WithDisableServiceConfig": "nothing: it is always set",
	"WithDisableRetry":         "nothing: it is always set",
	"WithMaxCallAttempts":      "surecall.WithRetry",
	"WithConnectParams":        "nothing: reconnects are surecall's",
	"WithBackoffConfig":        "nothing: reconnects are surecall's",
	"WithBackoffMaxDelay":      "nothing: reconnects are surecall's",
	"WithDisableHealthCheck":   "nothing: surecall does not use gRPC's health check",
}

// checkDialOptions reports the options that surecall sets itself. gRPC's options are
// opaque, but for the name of the function each was made by.
func checkDialOptions(opts []grpc.DialOption) error {
	var errs []error
	for n, o := range opts {
		if o == nil {
			errs = append(errs, fmt.Errorf("surecall: WithDialOptions: option %d is nil", n))
			continue
		}
		for _, part := range strings.Split(maker(o), ".") {
			if instead, ok := owned[part]; ok {
				errs = append(errs, fmt.Errorf("surecall: WithDialOptions: grpc.%s is surecall's own: use %s", part, instead))
			}
		}
	}
	return errors.Join(errs...)
}

// maker returns the name of the closure that o applies, which contains the name of the
// gRPC function that made it; "" if o is of another kind.
func maker(o grpc.DialOption) string {
	v := reflect.ValueOf(o)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return ""
	}
	for n := range v.Elem().NumField() {
		if f := v.Elem().Field(n); f.Kind() == reflect.Func && !f.IsNil() {
			if fn := runtime.FuncForPC(f.Pointer()); fn != nil {
				return fn.Name()
			}
		}
	}
	return ""
}
