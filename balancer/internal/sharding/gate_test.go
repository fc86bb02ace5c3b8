package sharding

import (
	"math/rand/v2"
	"sync"
	"testing"

	"google.golang.org/grpc/balancer"
)

// dialled is a SubConn that notes when it is told to connect.
type dialled struct {
	balancer.SubConn
	id  int
	log *[]int
}

func (d dialled) Connect() { *d.log = append(*d.log, d.id) }

func newConns(n int) (conns []*subConn, log *[]int) {
	log = new([]int)
	for id := range n {
		conns = append(conns, &subConn{SubConn: dialled{id: id, log: log}})
	}
	return conns, log
}

func wantDials(t *testing.T, log *[]int, want ...int) {
	t.Helper()
	if len(*log) != len(want) {
		t.Fatalf("dialled %v, want %v", *log, want)
	}
	for n, id := range want {
		if (*log)[n] != id {
			t.Fatalf("dialled %v, want %v", *log, want)
		}
	}
}

// TestGateOrder: those in the queue are served in order, and who left it is not.
func TestGateOrder(t *testing.T) {
	g := gate{limit: 2}
	conns, log := newConns(6)
	for _, c := range conns {
		g.enter(c)
	}
	wantDials(t, log, 0, 1)
	g.enter(conns[0]) // on its way already
	g.enter(conns[3])
	wantDials(t, log, 0, 1)
	g.leave(conns[2]) // closed while it waits: frees no place
	wantDials(t, log, 0, 1)
	g.leave(conns[1])
	wantDials(t, log, 0, 1, 3)
	g.leave(conns[1]) // twice: frees no second place
	wantDials(t, log, 0, 1, 3)
	g.leave(conns[0])
	wantDials(t, log, 0, 1, 3, 4)
	g.enter(conns[2]) // again, at the end
	g.leave(conns[3])
	g.leave(conns[4])
	wantDials(t, log, 0, 1, 3, 4, 5, 2)
	g.leave(conns[5])
	g.leave(conns[2])
	if g.dialing != 0 || len(g.queue) != 0 {
		t.Errorf("in the end %d dial and %d wait", g.dialing, len(g.queue))
	}
}

// TestGateTwiceInQueue: one that leaves the queue and enters it anew is dialled once.
func TestGateTwiceInQueue(t *testing.T) {
	g := gate{limit: 1}
	conns, log := newConns(3)
	g.enter(conns[0])
	g.enter(conns[1])
	g.leave(conns[1])
	g.enter(conns[1])
	g.enter(conns[2])
	g.leave(conns[0])
	wantDials(t, log, 0, 1)
	g.leave(conns[1])
	wantDials(t, log, 0, 1, 2)
	g.leave(conns[2])
	wantDials(t, log, 0, 1, 2)
	if g.dialing != 0 {
		t.Errorf("%d dial in the end", g.dialing)
	}
}

// TestGateModel: a random program, against the count of those that hold a place.
func TestGateModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		g := gate{limit: 1 + r.IntN(4)}
		conns, _ := newConns(10)
		for range 1000 {
			if c := conns[r.IntN(len(conns))]; r.IntN(2) == 0 {
				g.enter(c)
			} else {
				g.leave(c)
			}
			holding, inLine := 0, 0
			for _, c := range conns {
				switch c.turn {
				case dialing:
					holding++
				case waiting:
					inLine++
				}
			}
			if holding != g.dialing || holding > g.limit || inLine > 0 && holding < g.limit {
				t.Fatalf("seed %d: %d hold a place, counted %d of %d, %d wait", seed, holding, g.dialing, g.limit, inLine)
			}
		}
	}
}

// TestGateConcurrent: places are neither lost nor made.
func TestGateConcurrent(t *testing.T) {
	g := gate{limit: 3}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			c := &subConn{SubConn: quiet{}}
			for range 1000 {
				g.enter(c)
				g.leave(c)
			}
		})
	}
	all.Wait()
	if g.dialing != 0 {
		t.Errorf("%d dial in the end", g.dialing)
	}
}

type quiet struct{ balancer.SubConn }

func (quiet) Connect() {}
