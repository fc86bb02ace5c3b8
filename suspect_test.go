package surecall_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// An instance on which calls wait in vain is passed over: one call a second finds out
// whether it answers again, and all others go elsewhere at once. Breakers are off, so
// that nothing else keeps calls from it.
func TestSuspectIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := cluster.Client(surecall.WithoutBreaker())
		stub := orders.NewOrdersClient(client)
		get := func(n int, every time.Duration) (slow int) {
			for range n {
				start := time.Now()
				if _, err := stub.Get(t.Context(), &orders.GetRequest{Id: "1"}); err != nil {
					t.Fatal(err)
				}
				if time.Since(start) > 50*time.Millisecond {
					slow++
				}
				time.Sleep(every)
			}
			return slow
		}
		get(60, time.Millisecond) // the method's latency is known
		hung := cluster.Instance(0)
		hung.Hang()
		before := hung.Calls()
		slow := get(1000, 10*time.Millisecond) // ten seconds
		if got := stateOf(client, hung.ID()); got != event.Suspect {
			t.Errorf("state of the hanging instance: %v: want %v", got, event.Suspect)
		}
		if sent := hung.Calls() - before; sent > 12 {
			t.Errorf("%d calls were sent to the hanging instance in 10 s: want about one a second", sent)
		}
		if slow > 12 {
			t.Errorf("%d calls of 1000 were slow: want about one a second", slow)
		}
		hung.Resume()
		get(110, 10*time.Millisecond) // the next one to look finds it alive
		if got := stateOf(client, hung.ID()); got != event.Eligible {
			t.Errorf("state after its return: %v: want %v", got, event.Eligible)
		}
	})
}

// An instance that is back gets its share: what it was charged while it hung is
// forgotten. It used to look ten times slower than the others for a minute.
func TestReturnedInstanceGetsItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 5)
		stub := orders.NewOrdersClient(cluster.Client())
		for _, i := range cluster.Instances() {
			i.Delay(2 * time.Millisecond)
		}
		load := func(d time.Duration) {
			for range d / (10 * time.Millisecond) {
				if _, err := stub.Get(t.Context(), &orders.GetRequest{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(8 * time.Millisecond)
			}
		}
		load(3 * time.Second)
		hung := cluster.Instance(2)
		hung.Hang()
		load(5 * time.Second)
		hung.Resume()
		load(60 * time.Second) // found, and grown to its full share
		before := hung.Calls()
		load(20 * time.Second)
		if got := hung.Calls() - before; got < 300 {
			t.Errorf("%d of 2000 calls went to the instance that is back: want about a fifth", got)
		}
	})
}

// While all are suspect, they serve: there is nobody else.
func TestSuspectsServeIfThereIsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := cluster.Client(surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
		stub := orders.NewOrdersClient(client)
		for range 60 {
			if _, err := stub.Get(t.Context(), &orders.GetRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range cluster.Instances() {
			i.Hang()
		}
		for range 5 {
			_, _ = stub.Get(t.Context(), &orders.GetRequest{})
		}
		for _, i := range cluster.Instances() {
			if got := stateOf(client, i.ID()); got != event.Suspect {
				t.Errorf("state of %s: %v: want %v", i.ID(), got, event.Suspect)
			}
			i.Resume()
		}
		if _, err := stub.Get(t.Context(), &orders.GetRequest{}); err != nil {
			t.Errorf("a call after both returned: %v", err)
		}
	})
}

func stateOf(c *surecall.Client, id string) event.State {
	for _, i := range c.Instances() {
		if i.ID == id {
			return i.State
		}
	}
	return ""
}

// A client that by now makes only calls that cannot be retried still finds out that a
// suspect is back: after ten seconds any call may look.
func TestSuspectIsFoundByCallsThatCannotBeRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutBreaker())
		teach(t, cluster, client, 40, 5*time.Millisecond)
		hung := cluster.Instance(0)
		hung.Hang()
		load(t, client, getMethod, 5*time.Millisecond, time.Second)
		if got := stateOf(client, hung.ID()); got != event.Suspect {
			t.Fatalf("state of the hanging instance: %v: want %v", got, event.Suspect)
		}
		hung.Resume()
		load(t, client, placeMethod, 50*time.Millisecond, 15*time.Second)
		if got := stateOf(client, hung.ID()); got != event.Eligible {
			t.Errorf("state after its return: %v: want %v", got, event.Eligible)
		}
	})
}
