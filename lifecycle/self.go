package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/pipe"
)

const (
	selfStart = 5 * time.Second // for the first answer
	selfAdmin = time.Second     // for an answer that an operator waits for; Kubernetes waits 1 s
)

// self is the in-process connection over which a server calls itself.
type self struct {
	listener *pipe.Listener
	addr     net.Addr
	conn     *grpc.ClientConn
}

func newSelf(l *Life) (*self, error) {
	s := &self{listener: pipe.Listen(), addr: selfAddr{l}}
	conn, err := grpc.NewClient("passthrough:///"+selfAddr{l}.String(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second}, MinConnectTimeout: selfStart}),
		// What the server takes and gives is its own business.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	s.conn = conn
	return s, err
}

// Accept implements [net.Listener], as do Addr and Close.
func (s *self) Accept() (net.Conn, error) {
	c, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	return selfConn{c, s.addr}, nil
}

func (s *self) Addr() net.Addr { return s.addr }
func (s *self) Close() error   { return s.listener.Close() }

// selfConn is the server's end: by its remote address a call tells that it comes from
// the server itself. Nobody outside the process can have that address.
type selfConn struct {
	net.Conn
	addr net.Addr
}

func (c selfConn) RemoteAddr() net.Addr { return c.addr }

type selfAddr struct{ life *Life }

func (selfAddr) Network() string { return "in-process" }
func (selfAddr) String() string  { return "in-process" }

// selfOf returns the server that makes this call to itself, or nil.
func selfOf(ctx context.Context) *Life {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	addr, _ := p.Addr.(selfAddr)
	return addr.life
}

func (l *Life) isSelf(ctx context.Context) bool { return selfOf(ctx) == l }

// selfCredentials are the server's credentials, but for the in-process connection.
type selfCredentials struct {
	credentials.TransportCredentials
}

func (c selfCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ok := conn.(selfConn); ok {
		return insecure.NewCredentials().ServerHandshake(conn)
	}
	return c.TransportCredentials.ServerHandshake(conn)
}

func (c selfCredentials) Clone() credentials.TransportCredentials {
	return selfCredentials{c.TransportCredentials.Clone()}
}

// ask has the server answer a health check, through its interceptors and over a
// connection, so that one that hangs does not pass for a healthy one. The error says
// that it did not answer.
func (l *Life) ask(ctx context.Context, timeout time.Duration) (healthpb.HealthCheckResponse_ServingStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request := &healthpb.HealthCheckRequest{}
	var header, trailer metadata.MD
	answer, err := healthpb.NewHealthClient(l.self.conn).Check(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
	switch {
	case err == nil:
	case ctx.Err() != nil || len(header)+len(trailer) == 0:
		return 0, fmt.Errorf("the server does not answer itself within %v: %w", timeout, err)
	default:
		// An interceptor of the program's rejects who has no credentials, or who comes when
		// much else does. That is an answer, and the status can be had without it.
		if answer, err = l.config.Health.Check(ctx, request); err != nil {
			return 0, err
		}
	}
	return answer.GetStatus(), nil
}

// checkInstalled makes the first call to the server and sees whether it passes through
// our interceptors.
func (l *Life) checkInstalled(ctx context.Context) error {
	_, err := l.ask(ctx, selfStart)
	switch {
	case l.installed.Load():
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: if it has transport credentials, they belong in Config.Credentials, not in grpc.Creds", err)
	default:
		return errors.New("the server was made without the options of this Life: want grpc.NewServer(l.ServerOptions()...)")
	}
}

// report is the health of a registration, of which own is the program's part and may be
// nil. It leaves a registry that waits for TTL/3 some time.
func (l *Life) report(ttl time.Duration, own func(context.Context) (discovery.Health, string)) func(context.Context) (discovery.Health, string) {
	if ttl == 0 {
		ttl = discovery.DefaultTTL
	}
	return func(ctx context.Context) (discovery.Health, string) {
		serving, err := l.ask(ctx, ttl/4)
		switch {
		case err != nil:
			return discovery.Critical, err.Error()
		case serving != healthpb.HealthCheckResponse_SERVING:
			return discovery.Critical, "the health service says " + serving.String()
		case own != nil:
			return own(ctx)
		default:
			return discovery.Passing, "serving"
		}
	}
}
