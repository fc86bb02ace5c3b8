package surecall_test

import (
	"context"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

// paid is a budget for all the retries that a test makes.
var paid = retry.BudgetPolicy{PerSecond: 1000, MinCapacity: 1000}

// notEligible is how many instances are in each state but eligible.
func notEligible(c *surecall.Client) map[event.State]int {
	states := map[event.State]int{}
	for _, i := range c.Instances() {
		if i.State != event.Eligible {
			states[i.State]++
		}
	}
	return states
}

// More instances pause at once than are probed at a time: each of them is found to be back.
// Those whose turn did not come used to be suspects for ever.
func TestMoreSuspectsThanProbes(t *testing.T) {
	for _, test := range []struct {
		name  string
		opts  []surecall.Option
		pause func(*testing.T, *surecall.Client, *surecalltest.Cluster)
	}{
		{"under load", nil, func(t *testing.T, client *surecall.Client, c *surecalltest.Cluster) {
			for _, i := range c.Instances()[:100] {
				i.Hang()
			}
			time.AfterFunc(800*time.Millisecond, func() { resumeAll(c) })
			load(t, client, getMethod, time.Millisecond, 800*time.Millisecond)
			advance(3 * time.Second)
		}},
		{"idle", []surecall.Option{surecall.WithActiveProbe(250 * time.Millisecond)}, func(_ *testing.T, _ *surecall.Client, c *surecalltest.Cluster) {
			hangAll(c)
			advance(2 * time.Second)
			resumeAll(c)
			advance(3 * time.Second)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 130)
				client := ready(t, cluster, append(test.opts, surecall.WithoutBreaker())...)
				gets(t, cluster, client, 300)
				test.pause(t, client, cluster)
				if states := notEligible(client); len(states) > 0 {
					t.Errorf("not eligible 3 s after all of 130 are back: %v", states)
				}
			})
		})
	}
}

// Some of many instances hang, and calls meet them all at once. Each call is answered by an
// instance that lives, however many it had to try, as long as its retries are paid for.
func TestSomeOfManyHang(t *testing.T) {
	for hanging, budget := range map[int]retry.BudgetPolicy{4: {}, 8: paid} {
		for range 10 { // it is chance who is picked
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 12)
				client := ready(t, cluster, surecall.WithRetryBudget(budget), inTurn(), surecall.WithRetry(retry.Policy{MaxAttempts: 2}))
				load(t, client, getMethod, 5*time.Millisecond, 1500*time.Millisecond)
				advance(2 * time.Second)
				for _, i := range cluster.Instances()[:hanging] {
					i.Hang()
				}
				wantAll(t, load(t, client, getMethod, time.Microsecond, 20*time.Microsecond), 2*time.Second)
			})
		}
	}
}

// Two registrations of one process share its address. The probes of one close no connection
// on which a call of the other waits that must not be repeated.
func TestProbesOfOneIDCutNoCallOfAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		server := cluster.Instance(0)
		var both []discovery.Instance
		for _, id := range []string{"a", "b"} {
			both = append(both, discovery.Instance{ID: id, Service: surecalltest.Service, Address: server.Address(), Weight: 1, Incarnation: "1"})
		}
		cluster.Registry.Set(surecalltest.Service, both...)
		client := ready(t, cluster, surecall.WithActiveProbe(250*time.Millisecond))
		advance(time.Second)
		server.Hang()
		time.AfterFunc(8*time.Second, server.Resume) // later than a connection is given up
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := unary(ctx, client, placeMethod); err != nil {
			t.Errorf("a call that waited failed after %v: %v: want the answer after 8s", time.Since(began), err)
		}
	})
}

// The near datacenter hangs. Attempts whose own time runs out while the budget is empty are
// cut all the same when their instance is found to hang: the budget fills again.
func TestHangOutlastsAnEmptyBudget(t *testing.T) {
	for _, every := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond} {
		for range 3 {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 8)
				client, _ := nearAndFar(t, cluster, 5)
				load(t, client, getMethod, every, 2*time.Second)
				for _, i := range cluster.Instances()[:5] {
					i.Hang()
				}
				wantAll(t, load(t, client, getMethod, every, time.Second), 2*time.Second)
			})
		}
	}
}
