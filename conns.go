package surecall

import (
	"context"
	"net"
	"sync"
)

// conns are a client's open network connections, so that one over which nothing comes
// any more can be closed: gRPC offers no other way to have it dialled anew, and the
// system's own takes a quarter of an hour.
type conns struct {
	mu   sync.Mutex
	open map[string]map[*conn]struct{} // by the address that was dialled
}

// conn is one of them.
type conn struct {
	net.Conn
	owner   *conns
	address string
}

// dialer returns dial, with what it opens kept until it is closed.
func (c *conns) dialer(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		raw, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		kept := &conn{Conn: raw, owner: c, address: address}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open == nil {
			c.open = map[string]map[*conn]struct{}{}
		}
		if c.open[address] == nil {
			c.open[address] = map[*conn]struct{}{}
		}
		c.open[address][kept] = struct{}{}
		return kept, nil
	}
}

// Close closes the connection and forgets it.
func (c *conn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.open[c.address], c)
	if len(c.owner.open[c.address]) == 0 {
		delete(c.owner.open, c.address)
	}
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// sever closes the connections to an address.
func (c *conns) sever(address string) {
	c.mu.Lock()
	var open []*conn
	for o := range c.open[address] {
		open = append(open, o)
	}
	c.mu.Unlock()
	for _, o := range open {
		_ = o.Close() // what it says is that it is closed
	}
}
