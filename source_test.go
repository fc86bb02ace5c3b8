package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// TestStartWhileTheSourceIsDown: the first call of a process whose source is down is
// answered, if an earlier one kept a snapshot, and else it is not.
func TestStartWhileTheSourceIsDown(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprint("kept=", kept), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, dir := surecalltest.NewCluster(t, 3), filepath.Join(t.TempDir(), "snapshots")
				var opts []surecall.Option
				if kept {
					opts = append(opts, surecall.WithSnapshotDir(dir))
				}
				before := ready(t, c, opts...)
				get(t, before)
				if err := before.Close(); err != nil {
					t.Fatal(err)
				}
				c.Registry.Fail(errors.New("connection refused"))
				advance(time.Hour)

				var events log
				client := c.Client(append(opts, events.option())...)
				if s := client.Source(); s.Trusted || s.Instances != 0 {
					t.Errorf("before the first call: %v", s)
				}
				_, err := unary(t.Context(), client, placeMethod)
				if !kept {
					if !errors.Is(err, surecall.ErrNoInstance) || !strings.Contains(err.Error(), "connection refused") {
						t.Errorf("without a snapshot the first call ended with %v", err)
					}
					return
				}
				if err != nil {
					t.Fatalf("the first call ended with %v", err)
				}
				want := "orders: 3 instances from disk, not trusted, saved 1h0m0s ago: discovery/memory: connection refused"
				if got := client.Source().String(); got != want {
					t.Errorf("status %q, want %q", got, want)
				}
				wantAll(t, load(t, client, placeMethod, 10*time.Millisecond, time.Second), time.Second)
				degraded := eventsOf[event.SourceDegraded](&events)
				if len(degraded) != 1 || degraded[0].Known != 3 || !strings.Contains(degraded[0].Err.Error(), "from disk") {
					t.Errorf("events %+v", degraded)
				}
				// One of them is gone, as the source says when it is back.
				c.Instance(0).Kill()
				c.Instance(0).Delist()
				c.Registry.Recover()
				synctest.Wait()
				if got, want := client.Source().String(), "orders: 2 instances, trusted, answered 0s ago"; got != want {
					t.Errorf("status %q, want %q", got, want)
				}
				if n := len(client.Instances()); n != 2 {
					t.Errorf("%d instances, want 2", n)
				}
			})
		})
	}
}

// TestDeadInstancesOnDisk: those of a snapshot that are gone cost no call.
func TestDeadInstancesOnDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, dir := surecalltest.NewCluster(t, 4), surecall.WithSnapshotDir(t.TempDir())
		if err := ready(t, c, dir).Close(); err != nil {
			t.Fatal(err)
		}
		c.Registry.Fail(errors.New("connection refused"))
		for n := range 3 {
			c.Instance(n).Kill()
		}
		wantAll(t, load(t, c.Client(dir), placeMethod, 10*time.Millisecond, time.Second), time.Second)
	})
}

// TestIdleClientKnowsNoSource: what a client that is idle knew is not called current, and
// it starts anew.
func TestIdleClientKnowsNoSource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := surecalltest.NewCluster(t, 1)
		client := ready(t, c, surecall.WithIdleTimeout(time.Minute))
		get(t, client)
		if s := client.Source(); !s.Trusted {
			t.Errorf("while in use: %v", s)
		}
		advance(3 * time.Minute)
		if s := client.Source(); s.Trusted || !strings.Contains(s.Why, "idle") {
			t.Errorf("idle: %v", s)
		}
		get(t, client)
		synctest.Wait()
		if s := client.Source(); !s.Trusted {
			t.Errorf("in use again: %v", s)
		}
	})
}

// byDatacenter is a source with a registry for each datacenter.
type byDatacenter map[string]*memory.Registry

func (d byDatacenter) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	registry := d[q.Datacenter]
	q.Datacenter = ""
	return registry.Watch(ctx, q, update)
}

// TestDatacentersOfTarget: a target's datacenters reach the client, each with its own
// answer and place.
func TestDatacentersOfTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := surecalltest.NewCluster(t, 2)
		d := byDatacenter{"eu": memory.New(), "us": memory.New()}
		for n, dc := range []string{"eu", "us"} {
			d[dc].Set(surecalltest.Service, discovery.Instance{ID: "same", Address: c.Instance(n).Address()})
		}
		client, err := surecall.NewClient("consul:///orders?dc=eu,us",
			surecall.WithSource(d), surecall.WithContextDialer(c.Dial), surecall.WithInsecure())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		get(t, client)
		d["us"].Fail(errors.New("no route to host"))
		synctest.Wait()
		want := "orders: eu: 1 instance, trusted, answered 0s ago; us: 1 instance, not trusted, answered 0s ago: discovery/memory: no route to host"
		if got := client.Source().String(); got != want {
			t.Errorf("status %q, want %q", got, want)
		}
		if n := len(client.Instances()); n != 2 {
			t.Errorf("%d instances, want same and same@us", n)
		}
	})
}

// TestSourceOptions: what makes no sense is told, and how it would.
func TestSourceOptions(t *testing.T) {
	for _, test := range []struct {
		target string
		opts   []surecall.Option
		want   string
	}{
		{"memory:///orders", []surecall.Option{surecall.WithSnapshotDir("")}, "WithSnapshotDir: dir is empty"},
		{"memory:///orders", []surecall.Option{surecall.WithSnapshotMaxAge(time.Hour)}, "MaxAge 1h0m0s without a Dir"},
		{"memory:///orders", []surecall.Option{surecall.WithSnapshotDir("x"), surecall.WithSnapshotMaxAge(-1)}, "MaxAge -1ns"},
		{"memory:///orders", []surecall.Option{surecall.WithSnapshotDir("x"), surecall.WithSnapshotMaxAge(time.Hour)}, ""},
	} {
		_, err := surecall.DialOptions(test.target, append(test.opts, surecall.WithSource(memory.New()), surecall.WithInsecure())...)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.target, err, test.want)
		}
	}
	_, err := surecall.DialOptions("dns:///orders:80", surecall.WithInsecure(), surecall.WithSnapshotDir("x"))
	if err == nil || !strings.Contains(err.Error(), "gRPC finds the instances") {
		t.Errorf("dns: error %v", err)
	}
	client, err := surecall.NewClient("dns:///orders:80", surecall.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if s := client.Source().String(); !strings.Contains(s, "gRPC finds the instances") {
		t.Errorf("status of a dns target: %q", s)
	}
}

// openRegistered starts a server on loopback and registers it.
func openRegistered(registry *memory.Registry) (closeAll func()) {
	target, closeAll := openShops(&shop{})
	address, _, _ := strings.Cut(strings.TrimPrefix(target, "static:///"), "?")
	registry.Set("orders", discovery.Instance{ID: "orders-1", Address: address})
	return closeAll
}

// A process that starts while its source is down serves from what an earlier one knew.
func ExampleWithSnapshotDir() {
	registry := memory.New()
	defer openRegistered(registry)()
	dir, err := os.MkdirTemp("", "orders") // in a program: a folder that outlives it
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	start := func() {
		client, err := surecall.NewClient("memory:///orders", surecall.WithSource(registry), surecall.WithInsecure(),
			surecall.WithSnapshotDir(dir))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer client.Close()
		order, err := orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
		fmt.Println(order.GetItem(), err, "from disk:", client.Source().FromDisk)
	}
	start()
	registry.Fail(errors.New("connection refused"))
	start()
	// Output:
	// tea <nil> from disk: false
	// tea <nil> from disk: true
}

// What the source says can be asked for at any time, for a log or a status page.
func ExampleClient_Source() {
	registry := memory.New()
	defer openRegistered(registry)()
	client, err := surecall.NewClient("memory:///orders", surecall.WithSource(registry), surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	fmt.Println(client.Source())
	if err := client.WaitReady(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	status := client.Source() // in full: orders: 1 instance, trusted, answered 0s ago
	fmt.Println("instances:", status.Instances, "trusted:", status.Trusted)
	// Output:
	// orders: no answer, not trusted: it has not been asked: the client has not connected yet
	// instances: 1 trusted: true
}
