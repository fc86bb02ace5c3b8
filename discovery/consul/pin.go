package consul

import (
	"context"
	"net"
	"sync"
	"time"
)

// pin is a dialer that stays with the agent it first reached. A registration lives in
// one agent: behind a name with several addresses, a heart-beat that reaches another
// one finds nothing there. The agent is given up only when it could not be reached for
// patience: by then its checks have made the registration critical, so a second one
// elsewhere misleads nobody.
//
// An agent behind a load balancer with a single address is held by the connection
// alone; see the package comment.
type pin struct {
	dial     dialFunc
	patience time.Duration
	broke    func() // called once per connection, when it is closed, by either side

	mu      sync.Mutex
	address string    // of the agent; empty before the first connection
	failing time.Time // since when it cannot be reached; zero if it can
}

func (p *pin) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &pinnedConn{Conn: conn, broke: sync.OnceFunc(p.broke)}, nil
}

func (p *pin) connect(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // a lease has one connection at a time
	if p.address != "" {
		conn, err := p.dial(ctx, network, p.address)
		if err == nil {
			p.failing = time.Time{}
			return conn, nil
		}
		if now := time.Now(); p.failing.IsZero() {
			p.failing = now
			return nil, err
		} else if now.Sub(p.failing) < p.patience {
			return nil, err
		}
	}
	conn, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.failing = time.Time{}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		p.address = remote.String()
	}
	return conn, nil
}

// pinnedConn tells when it is closed. The transport closes it as soon as it reads that
// the agent has, also between two requests.
type pinnedConn struct {
	net.Conn
	broke func()
}

func (c *pinnedConn) Close() error {
	c.broke()
	return c.Conn.Close()
}
