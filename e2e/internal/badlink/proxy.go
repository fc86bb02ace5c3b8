// Package badlink is a TCP proxy whose link can be made bad: every connection then
// stalls at random for 0.2 to 3 s, again and again, and one in five is reset.
package badlink

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	stallMin = 200 * time.Millisecond
	stallMax = 3 * time.Second
	resets   = 0.2 // share of the connections
)

// Proxy forwards connections to one address. Its methods are safe for concurrent use.
type Proxy struct {
	Addr string // where it listens

	to       string
	listener net.Listener
	bad      atomic.Bool
	running  sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
	open   map[net.Conn]struct{}
	closed bool
	stats  Stats
}

// Stats is what the link did while it was bad.
type Stats struct {
	Connections, Stalls, Resets int
	Stalled                     time.Duration // in all
}

// New listens on a free port of loopback. The link is good at first; what it does when it
// is bad is drawn from seed.
func New(to string, seed uint64) (*Proxy, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("badlink: %w", err)
	}
	p := &Proxy{
		Addr: lis.Addr().String(), to: to, listener: lis,
		random: rand.New(rand.NewPCG(seed, seed)), open: map[net.Conn]struct{}{},
	}
	p.running.Go(p.accept)
	return p, nil
}

// SetBad makes the link bad or good, for connections that are open too. When it turns
// bad, one in five of those is reset.
func (p *Proxy) SetBad(bad bool) {
	p.bad.Store(bad)
	if !bad {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if p.random.Float64() < resets {
			p.stats.Resets++
			reset(c)
		}
	}
}

// Bad tells whether the link is bad now.
func (p *Proxy) Bad() bool { return p.bad.Load() }

// Stats returns what the link did so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Close ends all connections and waits until nothing runs any more.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		reset(c)
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.forward(near) })
	}
}

func (p *Proxy) forward(near net.Conn) {
	defer near.Close()
	if !p.keep(near) {
		return
	}
	defer p.forget(near)
	if d, doomed := p.fate(); doomed {
		timer := time.AfterFunc(d, func() { reset(near) })
		defer timer.Stop()
	}
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		reset(near)
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() { p.pump(far, near) })
	p.pump(near, far)
	both.Wait()
}

// fate says of a new connection whether it will be reset, and after how long.
func (p *Proxy) fate() (after time.Duration, doomed bool) {
	if !p.bad.Load() {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Connections++
	if p.random.Float64() >= resets {
		return 0, false
	}
	p.stats.Resets++
	return time.Duration(p.random.Float64() * float64(stallMax)), true
}

// pump copies until one side ends, and stalls before each piece while the link is bad.
func (p *Proxy) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			time.Sleep(p.stall())
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				reset(to)
			}
			return
		}
	}
}

// stall draws how long a piece of data is held up.
func (p *Proxy) stall() time.Duration {
	if !p.bad.Load() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := stallMin + time.Duration(p.random.Float64()*float64(stallMax-stallMin))
	p.stats.Stalls++
	p.stats.Stalled += d
	return d
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[c] = struct{}{}
	return true
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// reset ends a connection with RST instead of FIN.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
