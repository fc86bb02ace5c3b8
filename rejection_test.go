package surecall_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// Without an instance to send it to, a call is refused at once, with what an operator
// needs to know; streams likewise.
func TestRejection(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(*surecalltest.Cluster)
		known  int
		state  event.State
		text   string
		cause  error
	}{
		{
			"none listed", func(c *surecalltest.Cluster) {
				for _, i := range c.Instances() {
					i.Delist()
					i.Kill()
				}
			},
			0, "", `surecall: no eligible instance of "orders": 0 known`, nil,
		},
		{
			"none reachable", func(c *surecalltest.Cluster) {
				for _, i := range c.Instances() {
					i.Kill()
				}
			},
			2, event.Failed, `surecall: no eligible instance of "orders": 2 known, 2 failed; last error `, syscall.ECONNREFUSED,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, 2), &log{}
				client := ready(t, cluster, events.option(), surecall.WithLoss(applyAtOnce))
				get(t, client)
				test.damage(cluster)
				time.Sleep(1500 * time.Millisecond)
				for name, call := range map[string]func() error{
					"unary": func() error { _, err := unary(t.Context(), client, getMethod); return err },
					"stream": func() error {
						_, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
						return err
					},
				} {
					began := time.Now()
					err := call()
					if took := time.Since(began); took != 0 {
						t.Errorf("%s: took %v: want no time", name, took)
					}
					var r *surecall.Rejection
					if !errors.As(err, &r) || !errors.Is(err, surecall.ErrNoInstance) || errors.Is(err, surecall.ErrServiceDown) {
						t.Fatalf("%s: error %v (%T): want a rejection for ErrNoInstance", name, err, err)
					}
					if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != err.Error() {
						t.Errorf("%s: status %v: want UNAVAILABLE and the text of the error", name, status.Convert(err))
					}
					if !strings.HasPrefix(err.Error(), test.text) {
						t.Errorf("%s: error %q: want %q…", name, err, test.text)
					}
					if r.Service != surecalltest.Service || r.Method == "" || r.Known != test.known || r.States[test.state] != test.known {
						t.Errorf("%s: rejection %+v: want the method, %d known, %d %s", name, r, test.known, test.known, test.state)
					}
				}
				rejected := eventsOf[event.CallRejected](events)
				if len(rejected) != 2 || rejected[0].Service != surecalltest.Service || rejected[0].Method == "" || !errors.Is(rejected[0].Err, surecall.ErrNoInstance) {
					t.Errorf("events %+v: want a CallRejected for each", rejected)
				}
			})
		})
	}
}

// A source that has no answer yet: its error is what the caller sees.
func TestRejectionBeforeTheFirstSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		noLeader := errors.New("no leader")
		cluster.Registry.Fail(noLeader)
		client := cluster.Client(events.option())
		_, err := unary(t.Context(), client, getMethod)
		if !errors.Is(err, surecall.ErrNoInstance) || status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no leader") {
			t.Errorf("error %v: want a rejection that says what the source said", err)
		}
		if n := len(eventsOf[event.CallRejected](events)); n != 1 {
			t.Errorf("%d CallRejected: want 1", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = client.WaitReady(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, surecall.ErrNoInstance) {
			t.Errorf("WaitReady: %v: want the deadline and what is missing", err)
		}
		cluster.Registry.Recover()
		if err := client.WaitReady(t.Context()); err != nil {
			t.Error(err)
		}
		get(t, client)
	})
}

// A call that waits for ready is not refused: it waits for an instance.
func TestWaitForReady(t *testing.T) {
	for _, test := range []struct {
		name        string
		damage, fix func(*surecalltest.Cluster)
	}{
		{"none listed yet", func(c *surecalltest.Cluster) { c.Instance(0).Delist() }, func(c *surecalltest.Cluster) { c.Instance(0).List() }},
		{"none running yet", func(c *surecalltest.Cluster) { c.Instance(0).Kill() }, func(c *surecalltest.Cluster) { c.Instance(0).Start() }},
		{"no answer of the source yet", func(c *surecalltest.Cluster) { c.Registry.Fail(errors.New("no leader")) },
			func(c *surecalltest.Cluster) { c.Registry.Recover() }},
	} {
		for _, connected := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					cluster := surecalltest.NewCluster(t, 1)
					client := cluster.Client(surecall.WithLoss(applyAtOnce))
					if connected {
						get(t, client)
					}
					test.damage(cluster)
					time.Sleep(3 * time.Second)
					began := time.Now()
					time.AfterFunc(2*time.Second, func() { test.fix(cluster) })
					if _, err := unary(t.Context(), client, placeMethod, grpc.WaitForReady(true)); err != nil {
						t.Error(err)
					}
					if took := time.Since(began); !connected && took < 2*time.Second || took > 5*time.Second {
						t.Errorf("connected before: %v: took %v: want 2 s and a reconnect", connected, took)
					}
				})
			})
		}
	}
}

// It waits no longer than its deadline, and the error says so.
func TestWaitForReadyInVain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		cluster.Instance(0).Kill()
		client := cluster.Client()
		began := time.Now()
		_, err := unary(t.Context(), client, getMethod, grpc.WaitForReady(true))
		if status.Code(err) != codes.DeadlineExceeded || time.Since(began) != surecall.DefaultCallDeadline || !strings.Contains(err.Error(), forTheCaller) {
			t.Errorf("error %v after %v: want the call deadline", err, time.Since(began))
		}
	})
}

func TestWaitReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cluster.Client()
		if n := cluster.Instance(0).Dials(); n != 0 {
			t.Errorf("%d dials before the first call: want none", n)
		}
		if err := client.WaitReady(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := cluster.Instance(0).Dials() + cluster.Instance(1).Dials() + cluster.Instance(2).Dials(); n != 3 {
			t.Errorf("%d dials: want one to each", n)
		}
		for _, i := range cluster.Instances() {
			i.Kill()
		}
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := client.WaitReady(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, surecall.ErrNoInstance) || !strings.Contains(err.Error(), "3 known, 3 failed") {
			t.Errorf("WaitReady: %v: want the deadline, and what is missing", err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := client.WaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), `client of "orders" is closed`) {
			t.Errorf("WaitReady of a closed client: %v", err)
		}
	})
}

// When the last instances have left one by one, the rejection says what the source says,
// though the loss of the last one was doubted. It used to say only that none is known.
func TestRejectionAfterTheLastHasLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		for _, i := range cluster.Instances() {
			i.Delist()
			advance(time.Second)
			get(t, client) // the last one serves on, as absent
			i.Kill()
			advance(time.Second)
		}
		_, err := unary(t.Context(), client, getMethod)
		if !errors.Is(err, surecall.ErrNoInstance) || !strings.Contains(err.Error(), "memory has none") {
			t.Errorf("error %v: want a rejection that says that the source has none", err)
		}
	})
}
