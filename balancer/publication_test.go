package balancer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
)

// TestStart: the first picker waits for half of the connections, or for 100 ms after
// the first.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.tell(instances(8, nil)) // 8 dials, none of them answered
		serves := func() bool {
			_, err := r.pick(&Attempt{}, r.fleet.now())
			return err == nil
		}
		time.Sleep(time.Second)
		if serves() {
			t.Error("serves with no connection")
		}
		r.cc.step(2) // connecting, ready
		if connectedIn(r) != 1 || serves() {
			t.Fatalf("%d connected of 8, serves: %v", connectedIn(r), serves())
		}
		time.Sleep(99 * time.Millisecond)
		if serves() {
			t.Error("99 ms after the first connection it serves with it alone")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !serves() {
			t.Error("101 ms after the first connection it does not serve")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		for n := range 7 {
			r.cc.refuse[address(n)] = true
		}
		r.set(instances(8, nil))
		if got := r.counts(t, 10); got["i7"] != 10 {
			t.Errorf("seven of eight refuse connections: served %v", got)
		}
	})
}

// TestCoalescing: above 100 instances, pickers come at most every 10 ms, and the last
// transition of a burst is in one within that time.
func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		r.set(instances(300, nil))
		time.Sleep(time.Second)
		if n := len(r.picker().(*picker).connected); n != 300 {
			t.Fatalf("%d of 300 in the picker", n)
		}
		states := r.published()
		for n := range 100 {
			r.cc.refuse[address(n)] = true
			r.cc.lose(address(n))
		}
		if n := r.published() - states; n > 1 {
			t.Errorf("%d pickers in one instant", n)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n := len(r.picker().(*picker).connected); n != 200 {
			t.Errorf("10 ms later %d in the picker, want 200", n)
		}
	})
}

// TestCoalescingAfterTotalLoss: a picker that is due in a second, for want of any
// connection, does not hold back the one for the first connection.
func TestCoalescingAfterTotalLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		all := instances(300, nil)
		r.set(all)
		time.Sleep(time.Second)
		for n := range all {
			r.cc.mu.Lock()
			r.cc.later(r.cc.conns[address(n)], 0, nil) // IDLE: all lost, before one comes back
			r.cc.mu.Unlock()
		}
		r.cc.step(300)
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if _, err := r.pick(&Attempt{}, r.fleet.now()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
			t.Fatalf("with no connection: %v", err)
		}
		r.cc.drain()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n := len(r.picker().(*picker).connected); n != 300 {
			t.Errorf("10 ms after all are back, %d are in the picker", n)
		}
	})
}
