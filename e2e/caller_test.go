package e2e

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
)

// caller is a client and the load on it.
type caller struct {
	conn    grpc.ClientConnInterface // the client, or that of plain gRPC
	client  *surecall.Client         // nil if it is plain gRPC
	cluster *cluster
	number  int
	retried [methods]atomic.Int64 // attempts, as the client tells
	load    *load

	mu      sync.Mutex
	changes []change
}

// change is a change of an instance's state that the client told of.
type change struct {
	event.InstanceChanged
	at time.Time
}

// newCaller makes a client, and prints what is set in it. The load is started with run.
func (c *cluster) newCaller(t *testing.T, options ...surecall.Option) *caller {
	t.Helper()
	target := "consul://" + c.via + "/" + service + c.query
	if c.via == "" {
		target = "consul://" + c.agent.Addr + "/" + service + c.query
	}
	said := "nothing else is set"
	if len(options) > 0 {
		said = "and the options that the test is about"
	}
	t.Logf("client: surecall.NewClient(%q, surecall.WithInsecure(), and a handler that counts retries); %s", target, said)
	one := &caller{cluster: c, number: len(c.callers)}
	options = slices.Concat([]surecall.Option{surecall.WithInsecure(), surecall.WithEvents(one.handler(t))}, options)
	var err error
	if one.client, err = surecall.NewClient(target, options...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := one.client.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	one.conn = one.client
	c.callers = append(c.callers, one)
	return one
}

// String says what kind of client it is.
func (o *caller) String() string {
	if o.client == nil {
		return fmt.Sprintf("client %d, plain gRPC", o.number+1)
	}
	return fmt.Sprintf("client %d, surecall", o.number+1)
}

// handler counts retries. With E2E_EVENTS=1 it prints everything, to find out why a
// scenario fails.
func (o *caller) handler(t *testing.T) event.Handler {
	told := os.Getenv("E2E_EVENTS") == "1"
	of := map[string]method{"Get": get, "Place": place, "Watch": watch}
	return func(e event.Event) {
		switch e := e.(type) {
		case event.AttemptRetried:
			o.retried[of[path.Base(e.Method)]].Add(1)
		case event.InstanceChanged:
			o.mu.Lock()
			o.changes = append(o.changes, change{e, time.Now()})
			o.mu.Unlock()
		}
		if told {
			t.Logf("%s %T %+v", time.Now().Format("05.000"), e, e)
		}
	}
}

// became returns when the client first told, from since on, that the instance is in the
// state.
func (o *caller) became(srv *server, state event.State, since time.Time) (at time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.changes {
		if c.Instance == srv.id && c.To == state && !c.at.Before(since) {
			return c.at, true
		}
	}
	return time.Time{}, false
}

// await waits until the client holds every server eligible.
func (o *caller) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := o.client.WaitReady(ctx); err != nil {
		t.Fatalf("the client is not ready: %v", err)
	}
	for _, srv := range o.cluster.servers {
		o.awaitEligible(t, srv, startTimeout)
	}
}

// awaitEligible waits until the client holds the instance eligible, and returns how long
// after it began to serve that was.
func (o *caller) awaitEligible(t *testing.T, srv *server, timeout time.Duration) time.Duration {
	t.Helper()
	for {
		for _, i := range o.client.Instances() {
			if i.ID == srv.id && i.State == event.Eligible {
				return time.Since(srv.servingAt)
			}
		}
		if time.Since(srv.servingAt) > timeout {
			t.Fatalf("%s is not eligible %v after it began to serve: %+v", srv.id, timeout, o.client.Instances())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run starts the load.
func (o *caller) run(t *testing.T, perSecond int) {
	t.Helper()
	o.load = newLoad(o.conn, o.cluster.zero, o.number)
	if o.cluster.patient || o.cluster.noControl {
		o.load.deadline = patience
	}
	o.load.start(t, perSecond)
}

// took returns the calls that have ended.
func (o *caller) took() []call {
	if o.load == nil {
		return nil
	}
	return o.load.took()
}
