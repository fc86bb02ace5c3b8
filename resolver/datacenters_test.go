package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/endpoint"
)

// datacenters is a source with a registry for each datacenter.
type datacenters map[string]*memory.Registry

func newDatacenters(names ...string) datacenters {
	d := datacenters{}
	for _, name := range names {
		d[name] = memory.New()
	}
	return d
}

func (d datacenters) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	if len(q.Failover) > 0 {
		return errors.New("a source is asked for one datacenter at a time")
	}
	registry := d[q.Datacenter]
	if registry == nil { // it is too far away to answer
		<-ctx.Done()
		return ctx.Err()
	}
	q.Datacenter = ""
	return registry.Watch(ctx, q, update)
}

func (d datacenters) Explain(ctx context.Context, q discovery.Query) string {
	registry := d[q.Datacenter]
	q.Datacenter = ""
	return registry.Explain(ctx, q)
}

// inEuUs asks for eu, and us behind it.
func inEuUs(c Config) Config {
	c.Query.Datacenter, c.Query.Failover = "eu", []string{"us"}
	return c
}

// at returns instances by their IDs, on a network of their own.
func at(network, ids string) []discovery.Instance {
	all := set(ids)
	for n := range all {
		all[n].Address = fmt.Sprintf("10.%s.0.%c:80", network, '0'+all[n].ID[0]%10)
	}
	return all
}

// sets is what gRPC was told last: "a b/0 c/1", with the priorities other than 0.
func (c *stubConn) sets(t *testing.T, updates, errs int) string {
	t.Helper()
	c.told(t, updates, errs)
	if updates == 0 {
		return ""
	}
	var all []string
	for _, ep := range c.states[updates-1].Endpoints {
		i := endpoint.Of(ep)
		text := i.ID
		if i.Absent {
			text += "?"
		}
		if i.Priority > 0 {
			text += fmt.Sprintf("/%d", i.Priority)
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// TestEachDatacenterAlone: what one says, or does not, changes nobody's set but its own.
func TestEachDatacenterAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatacenters("eu", "us")
		d["eu"].Set("orders", at("1", "a b c")...)
		d["us"].Set("orders", at("2", "d e f")...)
		var events log
		cc := start(t, d, inEuUs(Config{Events: events.add}))
		want(t, cc.sets(t, cc.updates(), 0), "a b c d/1 e/1 f/1")
		n := cc.updates()
		d["eu"].Fail(errDown)
		time.Sleep(time.Hour)
		events.want(t, "eu degraded: 3 known")
		d["us"].Set("orders", at("2", "d e")...) // believed: a third
		want(t, cc.sets(t, n+1, 0), "a b c d/1 e/1")
		d["us"].Set("orders") // doubted
		want(t, cc.sets(t, n+2, 0), "a b c d?/1 e?/1")
		events.want(t, "eu degraded: 3 known", "us degraded: 2 known")
		d["us"].Set("orders", at("2", "d e")...)
		want(t, cc.sets(t, n+3, 0), "a b c d/1 e/1")
		events.want(t, "eu degraded: 3 known", "us degraded: 2 known", "us recovered after 0s")
		time.Sleep(time.Hour)
		d["eu"].Recover()
		want(t, cc.sets(t, n+3, 0), "a b c d/1 e/1")
		events.want(t, "eu degraded: 3 known", "us degraded: 2 known", "us recovered after 0s", "eu recovered after 2h0m0s")
		d["eu"].Set("orders")
		time.Sleep(DefaultHold)
		want(t, cc.sets(t, n+5, 0), "d/1 e/1")
	})
}

func (c *stubConn) updates() int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.states)
}

// TestSameIDs: an ID that an earlier datacenter has gets the name of its own, and keeps
// it: a new name would be a new instance, when the old one is needed.
func TestSameIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatacenters("eu", "us")
		d["eu"].Set("orders", at("1", "a b")...)
		d["us"].Set("orders", at("2", "b c")...)
		cc := start(t, d, inEuUs(Config{Loss: ApplyAtOnce()}))
		want(t, cc.sets(t, cc.updates(), 0), "a b b@us/1 c/1")
		d["eu"].Set("orders", at("1", "a")...)
		want(t, cc.sets(t, cc.updates(), 0), "a b@us/1 c/1")
		d["us"].Set("orders", at("2", "b")...)
		want(t, cc.sets(t, cc.updates(), 0), "a b@us/1")
		d["us"].Set("orders", at("2", "c")...)
		d["us"].Set("orders", at("2", "b c")...)
		synctest.Wait()
		d["eu"].Set("orders", append(at("1", "a"), discovery.Instance{ID: "b@us", Address: "10.1.0.99:80"})...)
		d["eu"].Set("orders", append(at("1", "a b"), discovery.Instance{ID: "b@us", Address: "10.1.0.99:80"})...)
		want(t, cc.sets(t, cc.updates(), 0), "a b b@us b@us@us/1 c/1")
	})
}

// TestSameInstance: an instance that two datacenters list under one address is one.
func TestSameInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatacenters("eu", "us")
		d["eu"].Set("orders", at("1", "a b")...)
		d["us"].Set("orders", at("1", "b c")...)
		cc := start(t, d, inEuUs(Config{}))
		want(t, cc.sets(t, cc.updates(), 0), "a b c/1")
	})
}

// slow answers after a time.
type slow struct {
	discovery.Source
	after map[string]time.Duration
}

func (s slow) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	time.Sleep(s.after[q.Datacenter])
	return s.Source.Watch(ctx, q, update)
}

// TestFirstDatacenterFirst: those that stand by do not serve before the first datacenter
// has answered, unless that takes too long.
func TestFirstDatacenterFirst(t *testing.T) {
	for after, told := range map[time.Duration]string{100 * time.Millisecond: "a d/1", patience + 100*time.Millisecond: "d/1"} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDatacenters("eu", "us")
				d["eu"].Set("orders", at("1", "a")...)
				d["us"].Set("orders", at("2", "d")...)
				cc := start(t, slow{d, map[string]time.Duration{"eu": after}}, inEuUs(Config{}))
				time.Sleep(after - time.Millisecond)
				cc.told(t, strings.Count(told, "d/1")-strings.Count(told, "a"), 0)
				time.Sleep(patience)
				want(t, cc.sets(t, cc.updates(), 0), "a d/1")
			})
		})
	}
}

// TestNothingAnywhere: calls fail only when nothing is known in any datacenter, and are
// told of each.
func TestNothingAnywhere(t *testing.T) {
	for _, test := range []struct {
		name, eu, us string // "fail", "empty", "far": no answer
		wait         time.Duration
		errs, sets   int
		want         string
	}{
		{"both fail", "fail", "fail", 0, 1, 0, "eu: discovery/memory: connection refused; us: discovery/memory: connection refused"},
		{"one is far: calls wait", "fail", "far", farPatience - 1, 0, 0, ""},
		{"one is far: they do not wait long", "fail", "far", farPatience, 1, 0, "eu: discovery/memory: connection refused; us: the source has not answered yet"},
		{"one is empty", "empty", "fail", 0, 1, 0, "us: discovery/memory: connection refused"},
		{"one is empty, one is far", "empty", "far", farPatience, 1, 0, "us: the source has not answered yet"},
		{"both are empty", "empty", "empty", 0, 0, 2, "eu: memory has none; us: memory has none"},
		{"both are far: calls wait", "far", "far", time.Hour, 0, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := datacenters{}
				for dc, state := range map[string]string{"eu": test.eu, "us": test.us} {
					if state != "far" {
						d[dc] = memory.New()
					}
					if state == "fail" {
						d[dc].Fail(errDown)
					}
				}
				cc := start(t, d, inEuUs(Config{}))
				time.Sleep(test.wait)
				cc.told(t, test.sets, test.errs)
				got := ""
				if test.errs > 0 {
					got = cc.errs[0].Error()
				} else if test.sets > 0 {
					got = endpoint.Why(cc.states[1].Attributes)
				}
				if got != test.want {
					t.Errorf("callers are told %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestGoneInOneDown: what a datacenter has truly lost goes, whatever is wrong with the
// others; callers are told of those.
func TestGoneInOneDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatacenters("eu", "us")
		d["eu"].Set("orders", at("1", "a")...)
		d["us"].Fail(errDown)
		cc := start(t, d, inEuUs(Config{Loss: ApplyAtOnce()}))
		want(t, cc.sets(t, 1, 0), "a")
		d["eu"].Set("orders")
		want(t, cc.sets(t, 2, 0), "")
		if why := endpoint.Why(cc.states[1].Attributes); why != "us: discovery/memory: connection refused" {
			t.Errorf("callers are told %q", why)
		}
		d["eu"].Set("orders", at("1", "a")...)
		want(t, cc.sets(t, 3, 0), "a")
	})
}

// TestDatacentersFromDisk: each datacenter has a file of its own, and one that is down
// serves from it beside one that answers.
func TestDatacentersFromDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatacenters("eu", "us")
		d["eu"].Set("orders", at("1", "a b")...)
		d["us"].Set("orders", at("2", "c d")...)
		c := inEuUs(Config{Snapshots: Snapshots{Dir: t.TempDir()}})
		cc := &stubConn{}
		life(t, d, c, cc)()
		d["eu"].Fail(errDown)
		d["us"].Set("orders", at("2", "c e")...)
		var events log
		c.Events = events.add
		cc = start(t, d, c)
		want(t, cc.sets(t, cc.updates(), 0), "a b c/1 e/1")
		events.want(t, "eu degraded: 2 known")
		// us alone is asked for: the file is the same, whatever its place was.
		d["us"].Fail(errDown)
		alone := &stubConn{}
		t.Cleanup(life(t, d, Config{Query: discovery.Query{Datacenter: "us"}, Snapshots: c.Snapshots}, alone))
		want(t, alone.sets(t, 1, 0), "c d")
	})
}

// TestOrder: gRPC and the event handler hear of things in the order in which they
// happened, from one goroutine.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatacenters("eu", "us")
		cc := &serialConn{}
		r, _ := NewBuilder(inEuUs(Config{
			Open:   func() (discovery.Source, func(), error) { return d, func() {}, nil },
			Query:  discovery.Query{Service: "orders"},
			Events: cc.event,
		})).Build(resolver.Target{}, cc, resolver.BuildOptions{})
		for n := range 50 {
			for _, registry := range d {
				registry.Set("orders", set(strings.Repeat("a ", n%2))...)
				if n%3 == 0 {
					registry.Fail(errDown)
				} else {
					registry.Recover()
				}
			}
			time.Sleep(time.Millisecond)
		}
		r.Close()
		if cc.n < 20 {
			t.Errorf("only %d things were told", cc.n)
		}
	})
}

// serialConn has no lock: the race detector fails the test if it is told of two things
// at once.
type serialConn struct {
	resolver.ClientConn
	n int
}

func (c *serialConn) UpdateState(resolver.State) error { c.n++; return nil }
func (c *serialConn) ReportError(error)                { c.n++ }
func (c *serialConn) event(event.Event)                { c.n++ }
