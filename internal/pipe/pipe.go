// Package pipe connects a client and a server inside one process, for a server that
// calls itself and for tests. Its connections have no network and set no timers of their
// own.
package pipe

import (
	"context"
	"net"
	"sync"
)

// Listener hands the server's ends of the connections that are dialled to Accept.
type Listener struct {
	dialled chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Listen returns a listener, which only its own DialContext leads to.
func Listen() *Listener {
	return &Listener{dialled: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener], as do Close and Addr.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case c := <-l.dialled:
		return c, nil
	}
}

// Close ends Accept. Connections stay.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address that leads nowhere.
func (*Listener) Addr() net.Addr { return addr{} }

// DialContext connects, as soon as the connection is accepted.
func (l *Listener) DialContext(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case l.dialled <- server:
		return client, nil
	}
}

type addr struct{}

func (addr) Network() string { return "pipe" }
func (addr) String() string  { return "pipe" }
