package surecalltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"google.golang.org/grpc/peer"

	"github.com/surecall/surecall/internal/pipe"
)

// gate is where bytes wait while it is shut. Its zero value is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil: open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// pass returns when the gate is open, or when whoever waits gives up.
func (g *gate) pass(giveUp <-chan struct{}) {
	for {
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut == nil {
			return
		}
		select {
		case <-shut:
		case <-giveUp:
			return
		}
	}
}

// conn is one end of a connection, which stands still while one of its gates is shut.
type conn struct {
	net.Conn
	gates  []*gate
	once   sync.Once
	closed chan struct{}
}

func newConn(c net.Conn, gates ...*gate) *conn {
	return &conn{Conn: c, gates: gates, closed: make(chan struct{})}
}

func (c *conn) Read(p []byte) (int, error) {
	c.pass()
	n, err := c.Conn.Read(p)
	c.pass() // what came in meanwhile, and that the other end closed, is not seen yet
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.pass()
	n, err := c.Conn.Write(p)
	c.pass()
	return n, err
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) pass() {
	for _, g := range c.gates {
		g.pass(c.closed)
	}
}

// RemoteAddr tells a handler which connection its call came over: see cut.
func (c *conn) RemoteAddr() net.Addr { return connAddr{c.Conn.RemoteAddr(), c} }

type connAddr struct {
	net.Addr
	conn *conn
}

// cut closes the connection that the call with this context came over.
func cut(ctx context.Context) {
	if p, ok := peer.FromContext(ctx); ok {
		if addr, ok := p.Addr.(connAddr); ok {
			_ = addr.conn.Close()
		}
	}
}

// listener is the server's side of an instance's connections.
type listener struct {
	*pipe.Listener
	instance *Instance
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c, &l.instance.process, &l.instance.network), nil
}

// dial is the client's side.
func (i *Instance) dial(ctx context.Context) (net.Conn, error) {
	i.network.pass(ctx.Done())
	i.mu.Lock()
	l, address := i.life, i.listed.Address
	i.mu.Unlock()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("dial tcp %s: %w", address, ctx.Err())
	}
	if l == nil {
		return nil, fmt.Errorf("dial tcp %s: connect: %w", address, syscall.ECONNREFUSED)
	}
	i.dials.Add(1)
	c, err := l.listener.DialContext(ctx)
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil, fmt.Errorf("dial tcp %s: connect: %w", address, syscall.ECONNREFUSED)
	case err != nil:
		return nil, fmt.Errorf("dial tcp %s: %w", address, err)
	}
	return newConn(c, &i.network), nil
}
