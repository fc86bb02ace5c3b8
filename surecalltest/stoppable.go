package surecalltest

import (
	"net"
	"sync"
)

// stoppable is an instance's listener, whose connections stand still while the instance
// hangs.
type stoppable struct {
	net.Listener
	instance *Instance
}

func (l stoppable) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stoppableConn{Conn: conn, instance: l.instance, closed: make(chan struct{})}, nil
}

type stoppableConn struct {
	net.Conn
	instance *Instance
	once     sync.Once
	closed   chan struct{}
}

func (c *stoppableConn) Read(p []byte) (int, error) {
	c.wait()
	n, err := c.Conn.Read(p)
	c.wait() // what came in while it hung is not seen before it goes on
	return n, err
}

func (c *stoppableConn) Write(p []byte) (int, error) {
	c.wait()
	return c.Conn.Write(p)
}

func (c *stoppableConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// wait returns when the instance does not hang.
func (c *stoppableConn) wait() {
	for {
		c.instance.mu.Lock()
		hang := c.instance.hang
		c.instance.mu.Unlock()
		if hang == nil {
			return
		}
		select {
		case <-hang:
		case <-c.closed:
			return
		}
	}
}
