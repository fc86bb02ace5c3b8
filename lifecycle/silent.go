package lifecycle

import (
	"net"
	"sync"
)

// silentListener closes, when the server stops, the connections over which nothing has
// ever come: port scanners, pools that dial ahead, peers that vanished. gRPC would wait
// two minutes for each to begin to speak before it stops, even at once. Connections
// other than TCP are passed through as they are, for credentials that look into them.
type silentListener struct {
	net.Listener

	mu     sync.Mutex
	ended  bool
	silent map[*silentConn]struct{}
}

func newSilentListener(lis net.Listener) *silentListener {
	return &silentListener{Listener: lis, silent: make(map[*silentConn]struct{})}
}

func (l *silentListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	tcp, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		return conn, err
	}
	c := &silentConn{TCPConn: tcp, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = tcp.Close()
	} else {
		l.silent[c] = struct{}{}
	}
	return c, nil
}

// hangUp closes the silent connections, and those that are accepted from now on.
func (l *silentListener) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for c := range l.silent {
		_ = c.TCPConn.Close()
	}
}

func (l *silentListener) forget(c *silentConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.silent, c)
}

// silentConn is a connection that may be silent.
type silentConn struct {
	*net.TCPConn
	listener *silentListener
	once     sync.Once
}

// Read implements [net.Conn]. Whether bytes come or an error, there is no silence after it.
func (c *silentConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.once.Do(func() { c.listener.forget(c) })
	return n, err
}

func (c *silentConn) Close() error {
	c.once.Do(func() { c.listener.forget(c) })
	return c.TCPConn.Close()
}
