package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
)

// A server stops while nobody calls, so that nobody notices: the first call that meets it
// is answered elsewhere.
func TestOneStoppedWhileIdle(t *testing.T) {
	t.Run("a client that has never called", func(t *testing.T) { stoppedWhileIdle(t, 0) })
	t.Run("a client that has called", func(t *testing.T) { stoppedWhileIdle(t, 200) })
}

func stoppedWhileIdle(t *testing.T, before int) {
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{flags: all(5, "-ttl", "15s"), idle: true}) // Consul does not notice either
		one := c.newCaller(t)
		one.await(t)
		c.zero = time.Now()
		one.load = newLoad(one.conn, c.zero, one.number)
		for n := range before {
			one.load.call(get, n, time.Now())
		}
		c.servers[0].stop(t)
		time.Sleep(time.Second)
		for n := 0; one.retried[get].Load() == 0; n++ {
			if n == 100 {
				t.Fatalf("none of %d calls met the stopped server: %+v", n, one.client.Instances())
			}
			one.load.call(get, before+n, time.Now())
		}
		calls := one.took()
		met := calls[len(calls)-1]
		t.Logf("call %d after the stop met %s and was answered by %s after %v", len(calls)-before, c.servers[0].id, met.instance, round(met.latency()))
		for _, call := range calls {
			if call.err != nil {
				t.Errorf("%v failed after %v: %v", call.method, round(call.latency()), call.err)
			}
		}
		if met.latency() > slow {
			return fmt.Sprintf("the call that met the stopped server took %v: want at most %v", round(met.latency()), slow)
		}
		return ""
	})
}

// With an active probe a server that stops is ejected before a call meets it.
func TestOneStoppedWhileIdleAndProbed(t *testing.T) {
	const probe = 250 * time.Millisecond
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{flags: all(5, "-ttl", "15s"), idle: true})
		one := c.newCaller(t, surecall.WithActiveProbe(probe))
		one.await(t)
		time.Sleep(time.Second)
		stopped := time.Now()
		c.servers[0].stop(t)
		time.Sleep(settle)
		at, ok := one.became(c.servers[0], event.Ejected, stopped)
		if !ok {
			t.Fatalf("not ejected within %v: %+v", settle, one.client.Instances())
		}
		c.zero = time.Now()
		one.load = newLoad(one.conn, c.zero, one.number)
		for n := range 100 {
			one.load.call(mix[n%(len(mix)-1)], n, time.Now()) // all but the stream
		}
		seen := sum(one.took(), 0, always)
		t.Logf("ejected %v after the stop, while idle; then: %v", round(at.Sub(stopped)), seen)
		if len(seen.failed) > 0 {
			t.Errorf("%d of %d calls failed after the ejection: want none", len(seen.failed), seen.issued)
		}
		if took := at.Sub(stopped); took > ejectedWithin {
			return fmt.Sprintf("ejected %v after the stop: want at most %v", round(took), ejectedWithin)
		}
		return ""
	})
}
