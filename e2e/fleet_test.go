package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/e2e/internal/counter"
)

// Five processes host up to ten instances each. In a minute the fleet grows from 5 to 50
// and shrinks to 5 again.
func TestFleetGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	const hosted, half = 45, 25 * time.Second
	c := newCluster(t, setup{noControl: true})
	id := func(n int) string { return fmt.Sprintf("hosted-%d", n+1) }
	each(t, hosted, half, func(n int) error { return c.host(c.servers[n%5], id(n)) })
	c.await(t, 5*time.Second, "all 50 are known", func() bool { return len(c.client.Instances()) == hosted+5 })
	time.Sleep(settle)
	each(t, hosted, half, func(n int) error {
		return request(http.MethodPost, "http://"+c.servers[n%5].admin+"/remove?id="+id(n))
	})
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

// host starts an instance within a server's process. Its counter is unmapped with the
// test process.
func (c *cluster) host(in *server, id string) error {
	file := filepath.Join(c.dir, id+".count")
	counted, err := counter.Open(file)
	if err != nil {
		return err
	}
	c.hosting.Lock()
	c.seen = append(c.seen, &server{spec: spec{id: id, counter: counted}})
	c.hosting.Unlock()
	return request(http.MethodPost, "http://"+in.admin+"/add?id="+id+"&counters="+url.QueryEscape(file))
}

// each starts do n times, evenly over d, and waits for all.
func each(t *testing.T, n int, d time.Duration, do func(n int) error) {
	t.Helper()
	var all sync.WaitGroup
	ticker := time.NewTicker(d / time.Duration(n))
	defer ticker.Stop()
	for i := range n {
		all.Go(func() {
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
		<-ticker.C
	}
	all.Wait()
}

// Everybody leaves, and comes back. The last one is needed for as long as it serves: no
// call fails before its graceful stop begins. Calls fail only while nobody is there; they
// are rejected at once then, and told why.
func TestFleetToZeroAndBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{noControl: true})
	const apart = 500 * time.Millisecond
	each(t, 5, 5*apart, func(n int) error { return c.servers[n].end() })
	gone := c.load.now()
	stopping := c.servers[4].logged(t, "lifecycle: graceful stop").Sub(c.zero)
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
	t.Logf("the last one stops at %v; nobody from %v to %v; surecall: %v", round(stopping), round(gone), round(back), seen)
	c.addUp(t, seen)

	texts, rejected, unexplained, late := map[string]int{}, 0, 0, 0
	for _, f := range seen.failed {
		if f.ended < stopping || f.due > back {
			t.Errorf("%v: due at %v, ended at %v: %v: want no failure while an instance serves", f.method, round(f.due), round(f.ended), f.err)
		}
		if f.due < gone && status.Code(f.err) == codes.Unavailable {
			continue // the last one's own answer: it leaves, and has not executed the call
		}
		var r *surecall.Rejection
		if !errors.As(f.err, &r) {
			t.Errorf("%v: due at %v: %v: want a rejection", f.method, round(f.due), f.err)
			continue
		}
		if f.due > gone+time.Second && f.due < empty {
			rejected++
			text, _, _ := strings.Cut(f.err.Error(), "; last error")
			texts[text]++
			if r.Known != 0 {
				t.Errorf("%v: due at %v: %v: want none known", f.method, round(f.due), f.err)
			}
			if r.LastErr == nil || !strings.Contains(r.LastErr.Error(), "Consul") {
				unexplained++
			}
			if f.latency() > rejectedWithin {
				late++
			}
		}
	}
	t.Logf("while nobody was there: %v", texts)
	if unexplained > 0 {
		t.Errorf("%d of %d rejections do not say what Consul has: want all", unexplained, rejected)
	}
	// A rejection takes far less than a millisecond; the bar forgives the machine a pause.
	if late > rejected/10 {
		t.Errorf("%d of %d rejections took more than %v: want them at once", late, rejected, rejectedWithin)
	}
	if none := c.between(gone+time.Second, empty-slow); none.ok > 0 || none.issued == 0 {
		t.Errorf("%d of %d calls were answered when nobody was there", none.ok, none.issued)
	}
}
