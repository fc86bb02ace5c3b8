package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/endpoint"
)

// stubConn is what a resolver tells gRPC.
type stubConn struct {
	resolver.ClientConn
	mu     sync.Mutex
	states []resolver.State
	errs   []error
}

func (c *stubConn) UpdateState(s resolver.State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, s)
	return nil
}

func (c *stubConn) ReportError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// told returns the last set as "a b?": b is absent. It waits until all is quiet.
func (c *stubConn) told(t *testing.T, updates, errs int) string {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.states) != updates || len(c.errs) != errs {
		t.Fatalf("gRPC was told %d sets and %d errors (%v), want %d and %d", len(c.states), len(c.errs), c.errs, updates, errs)
	}
	if updates == 0 {
		return ""
	}
	var ids []string
	for _, ep := range c.states[updates-1].Endpoints {
		info := endpoint.Of(ep)
		if info.Absent {
			info.ID += "?"
		}
		ids = append(ids, info.ID)
	}
	return strings.Join(ids, " ")
}

// start builds a resolver of source inside a bubble.
func start(t *testing.T, source discovery.Source, c Config) *stubConn {
	t.Helper()
	cc := &stubConn{}
	c.Scheme, c.Query.Service = "memory", "orders"
	if c.Open == nil {
		c.Open = func() (discovery.Source, func(), error) { return source, func() {}, nil }
	}
	r, err := NewBuilder(c).Build(resolver.Target{}, cc, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.ResolveNow(resolver.ResolveNowOptions{})
	t.Cleanup(r.Close)
	return cc
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("gRPC holds %q, want %q", got, want)
	}
}

// TestDedupe: an identical set is not handed on, one that differs in what the picker
// reads is.
func TestDedupe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		a := discovery.Instance{ID: "a", Address: "10.0.0.1:80", Weight: 1, Incarnation: "1"}
		registry.Set("orders", a)
		cc := start(t, registry, Config{})
		want(t, cc.told(t, 1, 0), "a")
		a.Tags = []string{"v2"} // the source reports it, and nobody needs to know
		registry.Set("orders", a)
		want(t, cc.told(t, 1, 0), "a")
		a.Weight = 2
		registry.Set("orders", a)
		want(t, cc.told(t, 2, 0), "a")
		a.Incarnation = "2"
		registry.Set("orders", a)
		want(t, cc.told(t, 3, 0), "a")
		a.ServerName = "a.example"
		registry.Set("orders", a)
		want(t, cc.told(t, 4, 0), "a")
	})
}

// TestLastGood: a source that fails takes nothing away; it is an error only while there
// is nothing to serve.
func TestLastGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		registry.Fail(errors.New("connection refused"))
		var events log
		cc := start(t, registry, Config{Events: events.add})
		want(t, cc.told(t, 0, 1), "")
		registry.Recover()
		want(t, cc.told(t, 2, 1), "") // empty, and why it is
		registry.Set("orders", set("a b")...)
		want(t, cc.told(t, 3, 1), "a b")
		registry.Fail(errors.New("connection refused"))
		time.Sleep(time.Hour)
		want(t, cc.told(t, 3, 1), "a b")
		registry.Recover()
		want(t, cc.told(t, 3, 1), "a b")
		events.want(t, "degraded: 0 known", "recovered after 0s", "degraded: 2 known", "recovered after 1h0m0s")
	})
}

// TestLargeLoss: gRPC keeps the missing, marked, until their time is over.
func TestLargeLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		registry.Set("orders", set("a b c")...)
		var events log
		cc := start(t, registry, Config{Events: events.add})
		want(t, cc.told(t, 1, 0), "a b c")
		registry.Set("orders", set("a")...)
		want(t, cc.told(t, 2, 0), "a b? c?")
		time.Sleep(4 * time.Minute)
		registry.Set("orders", set("a c")...)
		want(t, cc.told(t, 3, 0), "a b? c")
		events.want(t, "degraded: 3 known")
		time.Sleep(time.Minute + time.Second)
		want(t, cc.told(t, 4, 0), "a c")
		events.want(t, "degraded: 3 known", "recovered after 5m0s")
	})
}

// TestAllGoneAfterDoubt: an answer that stays empty is believed in the end.
func TestAllGoneAfterDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		registry.Set("orders", set("a b")...)
		cc := start(t, registry, Config{Loss: Hold(time.Minute)})
		want(t, cc.told(t, 1, 0), "a b")
		registry.Set("orders")
		want(t, cc.told(t, 3, 0), "a? b?") // and why nobody is listed: their connections may end at any time
		time.Sleep(time.Minute)
		want(t, cc.told(t, 5, 0), "") // empty, and why
		for _, n := range []int{2, 4} {
			if why := endpoint.Why(cc.states[n].Attributes); why != "memory has none" {
				t.Errorf("explained by %q", why)
			}
		}
	})
}

// TestSourceDoubt: what a source doubts itself removes nobody, for as long as it does.
func TestSourceDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		registry.Set("orders", set("a b c d")...)
		cc := start(t, registry, Config{Loss: ApplyAtOnce()})
		want(t, cc.told(t, 1, 0), "a b c d")
		registry.Doubt(errors.New("no leader"))
		registry.Set("orders", set("a b c")...)
		want(t, cc.told(t, 2, 0), "a b c d?")
		time.Sleep(time.Hour)
		want(t, cc.told(t, 2, 0), "a b c d?")
		registry.Recover()
		want(t, cc.told(t, 3, 0), "a b c")
	})
}

// TestDoubtedEmpty: an empty first answer that is doubted is an error, not an empty set.
func TestDoubtedEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		registry.Doubt(errors.New("no leader"))
		cc := start(t, registry, Config{})
		want(t, cc.told(t, 0, 1), "")
	})
}

// TestBuildNeverBlocks: a source that cannot be opened, that ends, or that says nothing
// for ever, is nothing that Build waits for or fails with; Close ends all of it.
func TestBuildNeverBlocks(t *testing.T) {
	never := func(ctx context.Context, _ func(discovery.Snapshot)) error { <-ctx.Done(); return ctx.Err() }
	for _, test := range []struct {
		name string
		open error
		do   func(context.Context, func(discovery.Snapshot)) error
		errs int
	}{
		{"cannot be opened", errors.New("no such file"), nil, 1},
		{"can never work", nil, func(context.Context, func(discovery.Snapshot)) error { return errors.New("no such tag") }, 1},
		{"ends without a reason", nil, func(context.Context, func(discovery.Snapshot)) error { return nil }, 1},
		{"says nothing", nil, never, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, released := time.Now(), 0
				cc := &stubConn{}
				r, err := NewBuilder(Config{Open: func() (discovery.Source, func(), error) {
					time.Sleep(time.Second)
					return watchFunc(test.do), func() { released++ }, test.open
				}}).Build(resolver.Target{}, cc, resolver.BuildOptions{})
				if err != nil || time.Since(begin) != 0 {
					t.Fatalf("Build took %v and returned %v", time.Since(begin), err)
				}
				time.Sleep(2 * time.Second)
				cc.told(t, 0, test.errs)
				r.Close()
				if want := 1; test.open == nil && released != want {
					t.Errorf("the source was released %d times, want %d", released, want)
				}
			})
		})
	}
}

type watchFunc func(context.Context, func(discovery.Snapshot)) error

func (f watchFunc) Watch(ctx context.Context, _ discovery.Query, update func(discovery.Snapshot)) error {
	return f(ctx, update)
}

// explainer is a source without instances that takes its time to say why.
type explainer struct {
	watchFunc
	asked int
	why   func(ctx context.Context) string
}

func (e *explainer) Explain(ctx context.Context, _ discovery.Query) string {
	e.asked++
	return e.why(ctx)
}

// TestExplainIsBounded: a source that does not answer why is given up after a second,
// and the empty set does not wait for it.
func TestExplainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		source := &explainer{
			watchFunc: func(ctx context.Context, update func(discovery.Snapshot)) error {
				update(discovery.Snapshot{})
				update(discovery.Snapshot{}) // the same: not asked again
				<-ctx.Done()
				return ctx.Err()
			},
			why: func(ctx context.Context) string {
				begin := time.Now()
				<-ctx.Done()
				took = time.Since(begin)
				return ""
			},
		}
		cc := start(t, source, Config{})
		cc.told(t, 1, 0)
		time.Sleep(time.Minute)
		cc.told(t, 1, 0)
		if took != time.Second || source.asked != 1 {
			t.Errorf("asked %d times, for %v: want once, for 1s", source.asked, took)
		}
	})
}

// TestCloseEndsExplain: Close does not wait for an explanation.
func TestCloseEndsExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &explainer{
			watchFunc: func(ctx context.Context, update func(discovery.Snapshot)) error {
				update(discovery.Snapshot{})
				<-ctx.Done()
				return ctx.Err()
			},
			why: func(ctx context.Context) string { <-ctx.Done(); return "too late" },
		}
		cc := &stubConn{}
		open := func() (discovery.Source, func(), error) { return source, func() {}, nil }
		r, _ := NewBuilder(Config{Open: open}).Build(resolver.Target{}, cc, resolver.BuildOptions{})
		synctest.Wait()
		begin := time.Now()
		r.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %v", took)
		}
		cc.told(t, 1, 0)
	})
}

// TestAuthority: the authority is the configured one, whatever the target.
func TestAuthority(t *testing.T) {
	b := NewBuilder(Config{Scheme: "consul", Authority: "orders.service.consul"})
	if got := b.(resolver.AuthorityOverrider).OverrideAuthority(resolver.Target{}); got != "orders.service.consul" {
		t.Errorf("authority %q", got)
	}
	if got := b.Scheme(); got != "consul" {
		t.Errorf("scheme %q", got)
	}
}

// TestProblems: what is wrong with a registration is told, and the rest serves.
func TestProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events log
		source := watchFunc(func(ctx context.Context, update func(discovery.Snapshot)) error {
			update(discovery.Snapshot{
				Instances: append(set("a"), discovery.Instance{ID: "b", Address: "nowhere"}),
				Problems:  []discovery.Problem{{Instance: "c", What: "has no port"}},
			})
			<-ctx.Done()
			return ctx.Err()
		})
		cc := start(t, source, Config{Events: events.add})
		want(t, cc.told(t, 1, 0), "a")
		if got := strings.Join(events.lines, "; "); !strings.HasPrefix(got, `problem of c: has no port; problem of b: address "nowhere"`) {
			t.Errorf("events: %s", got)
		}
	})
}

// log collects events as lines.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e := e.(type) {
	case event.SourceDegraded:
		l.lines = append(l.lines, fmt.Sprintf("%sdegraded: %d known", in(e.Datacenter), e.Known))
	case event.SourceRecovered:
		l.lines = append(l.lines, in(e.Datacenter)+"recovered after "+e.After.String())
	case event.SnapshotProblem:
		l.lines = append(l.lines, in(e.Datacenter)+"problem: "+e.Err.Error())
	case event.InstanceProblem:
		l.lines = append(l.lines, "problem of "+e.Instance+": "+e.What)
	}
}

func in(datacenter string) string {
	if datacenter == "" {
		return ""
	}
	return datacenter + " "
}

func (l *log) want(t *testing.T, lines ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got, want := strings.Join(l.lines, "; "), strings.Join(lines, "; "); got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestSameErrorIsToldOnce: gRPC makes a new picker of each.
func TestSameErrorIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := watchFunc(func(ctx context.Context, update func(discovery.Snapshot)) error {
			for _, why := range []string{"refused", "refused", "no route", "refused"} {
				update(discovery.Snapshot{Err: errors.New(why)})
			}
			<-ctx.Done()
			return ctx.Err()
		})
		start(t, source, Config{}).told(t, 0, 3)
	})
}
