package sharding

import "sync"

// gate lets at most limit connections be dialled at a time, first come first served.
type gate struct {
	limit int

	mu      sync.Mutex
	dialing int
	queue   []*subConn // some may have left meanwhile: their turn is none
}

// turn is where a connection stands at the gate.
type turn uint8

const (
	none    turn = iota // not dialling
	waiting             // in the queue
	dialing             // holds a place
)

// enter dials sc when there is a place. It does nothing if sc is on its way already.
func (g *gate) enter(sc *subConn) {
	g.mu.Lock()
	if sc.turn != none {
		g.mu.Unlock()
		return
	}
	if g.dialing >= g.limit {
		sc.turn = waiting
		g.queue = append(g.queue, sc)
		g.mu.Unlock()
		return
	}
	sc.turn = dialing
	g.dialing++
	g.mu.Unlock()
	sc.SubConn.Connect()
}

// leave gives sc's place, if it holds one, to the next in the queue.
func (g *gate) leave(sc *subConn) {
	g.mu.Lock()
	held := sc.turn == dialing
	sc.turn = none
	if !held {
		g.mu.Unlock()
		return
	}
	g.dialing--
	next := g.next()
	if next != nil {
		next.turn = dialing
		g.dialing++
	}
	g.mu.Unlock()
	if next != nil {
		next.SubConn.Connect()
	}
}

// next takes the first of the queue that still waits. Requires g.mu.
func (g *gate) next() *subConn {
	for len(g.queue) > 0 {
		sc := g.queue[0]
		g.queue[0] = nil
		g.queue = g.queue[1:]
		if sc.turn == waiting {
			return sc
		}
	}
	return nil
}
