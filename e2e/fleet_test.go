package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/e2e/internal/counter"
)

// Five processes host up to ten instances each. In a minute the fleet grows from 5 to 50
// and shrinks to 5 again.
func TestFleetGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	const hosted, half = 45, 25 * time.Second
	c := newCluster(t, setup{noControl: true})
	var coming, going sync.WaitGroup
	each(hosted, half, func(n int) {
		coming.Go(func() { c.host(t, c.servers[n%5], fmt.Sprintf("hosted-%d", n+1)) })
	})
	coming.Wait()
	c.await(t, 5*time.Second, "all 50 are known", func() bool { return len(c.client.Instances()) == hosted+5 })
	time.Sleep(settle)
	each(hosted, half, func(n int) {
		going.Go(func() { c.servers[n%5].post(t, fmt.Sprintf("/remove?id=hosted-%d", n+1)) })
	})
	going.Wait()
	c.await(t, 5*time.Second, "5 are known", func() bool { return len(c.client.Instances()) == 5 })
	time.Sleep(settle)
	seen := c.finish(t, allowed{})
	c.exactly(t, seen)
	served := 0
	for id := range seen.byInstance {
		if strings.HasPrefix(id, "hosted-") {
			served++
		}
	}
	if served < hosted {
		t.Errorf("%d of %d instances that came for a while got calls: want all", served, hosted)
	}
}

// host starts an instance within a server's process.
func (c *cluster) host(t *testing.T, in *server, id string) {
	file := filepath.Join(c.dir, id+".count")
	counted, err := counter.Open(file)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = counted.Close() })
	c.hosting.Lock()
	c.seen = append(c.seen, &server{spec: spec{id: id, counter: counted}})
	c.hosting.Unlock()
	in.post(t, "/add?id="+id+"&counters="+url.QueryEscape(file))
}

// each calls do n times, evenly over d.
func each(n int, d time.Duration, do func(n int)) {
	ticker := time.NewTicker(d / time.Duration(n))
	defer ticker.Stop()
	for i := range n {
		do(i)
		<-ticker.C
	}
}

// Everybody leaves, and comes back. Calls fail only while nobody is there; they are
// rejected at once then, and told why.
func TestFleetToZeroAndBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{noControl: true})
	var leaving sync.WaitGroup
	var last time.Duration // when the last one was told to leave
	for _, srv := range c.servers {
		time.Sleep(500 * time.Millisecond)
		last = c.load.now()
		leaving.Go(func() { srv.leave(t) })
	}
	leaving.Wait()
	gone := c.load.now()
	time.Sleep(settle)
	empty := c.load.now()
	c.restart(t, 0)
	back := c.load.now()
	for n := range c.servers[1:] {
		c.restart(t, n+1)
	}
	time.Sleep(settle)
	c.stop()
	seen := c.between(0, always)
	t.Logf("nobody from %v to %v; surecall: %v", round(gone), round(back), seen)
	c.addUp(t, seen)

	texts := map[string]int{}
	for _, f := range seen.failed {
		if f.due < last || f.due > back {
			t.Errorf("%v: due at %v: %v: want no failure while an instance lives", f.method, round(f.due), f.err)
		}
		var r *surecall.Rejection
		if !errors.As(f.err, &r) {
			t.Errorf("%v: due at %v: %v: want a rejection", f.method, round(f.due), f.err)
			continue
		}
		if f.due > gone+time.Second && f.due < empty {
			texts[strings.Split(f.err.Error(), "; last error")[0]]++
			if r.Known != 0 || f.latency() > rejectedWithin {
				t.Errorf("%v: due at %v, after %v: %v: want it rejected at once, with none known", f.method, round(f.due), round(f.latency()), f.err)
			}
		}
	}
	t.Logf("while nobody was there: %v", texts)
	if none := c.between(gone+time.Second, empty-slow); none.ok > 0 || none.issued == 0 {
		t.Errorf("%d of %d calls were answered when nobody was there", none.ok, none.issued)
	}
}
