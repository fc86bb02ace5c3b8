package balancer

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
)

// prober is whom all probes go to. It keeps when each was sent.
type prober struct {
	grpc.ClientConnInterface
	silent bool // answers none

	mu       sync.Mutex
	sent     []time.Time
	underWay int
	most     int
}

func (p *prober) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	p.mu.Lock()
	p.sent = append(p.sent, time.Now())
	p.underWay++
	p.most = max(p.most, p.underWay)
	p.mu.Unlock()
	if p.silent {
		<-ctx.Done()
	}
	p.mu.Lock()
	p.underWay--
	p.mu.Unlock()
	return ctx.Err()
}

// count returns how many probes are under way, and how many were at most.
func (p *prober) count() (now, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.underWay, p.most
}

// probed returns a rig of n instances whose probes go to p, and what ends it.
func probed(n int, p *prober) (r *rig, end func()) {
	r = newRig(Config{})
	r.cc.rpc = p
	r.set(instances(n, nil))
	return r, func() {
		r.lb.Close()
		r.cc.drain()
	}
}

// However many are suspected at once, maxProbes are probed at a time. The others take
// their turn: none is left out.
func TestProbesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &prober{silent: true}
		r, end := probed(200, p)
		defer end()
		for _, i := range *r.fleet.members.Load() {
			r.fleet.probe(i, probeTimeout)
		}
		synctest.Wait()
		if now, _ := p.count(); now != maxProbes {
			t.Errorf("%d probes of 200 suspects are under way: want %d", now, maxProbes)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, most := p.count(); most != 64 {
			t.Errorf("%d probes were under way at once: want 64", most)
		}
		for _, i := range *r.fleet.members.Load() {
			if !i.has(hung) {
				t.Errorf("%s was not probed in ten seconds", i.id)
			}
		}
	})
}

// An instance that answers probes, but not the call that waits on it, lives: it is not
// suspected again before a second has passed.
func TestAnsweredProbeExcuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &prober{}
		r, end := probed(3, p)
		defer end()
		a := &Attempt{Patience: minPatience}
		i := r.mustPick(t, a)
		began := time.Now()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		p.mu.Lock()
		sent := slices.Clone(p.sent)
		p.mu.Unlock()
		if i.has(suspected | hung) {
			t.Errorf("%s answers probes, and is held to hang", i.id)
		}
		if len(sent) != 3 {
			t.Fatalf("%d probes in 3 s of one waiting call: want 3, a second apart", len(sent))
		}
		if waited := sent[0].Sub(began); waited > 100*time.Millisecond {
			t.Errorf("the first probe came after %v: want the call's patience, %v", waited, minPatience)
		}
		for n := range sent[1:] {
			if gap := sent[n+1].Sub(sent[n]); gap < time.Second || gap > 1100*time.Millisecond {
				t.Errorf("probe %d came %v after one that was answered: want a second", n+1, gap)
			}
		}
		a.release()
		time.Sleep(time.Second)
	})
}
