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

// An instance that hangs is ejected within half a second, and gets no call until it
// answers a probe; then it is back at once. Breakers are off, so that nothing else keeps
// calls from it.
func TestHungInstanceIsEjected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, surecall.WithoutBreaker())
		teach(t, cluster, client, 60, 5*time.Millisecond)
		hung := cluster.Instance(0)
		before := hung.Calls()
		hung.Hang()
		wantAll(t, load(t, client, getMethod, 5*time.Millisecond, 500*time.Millisecond), 250*time.Millisecond)
		if got := stateOf(client, hung.ID()); got != event.Ejected {
			t.Fatalf("state of the hanging instance after 500 ms: %v: want %v", got, event.Ejected)
		}
		wantAll(t, load(t, client, getMethod, 5*time.Millisecond, 3*time.Second), 50*time.Millisecond)
		hung.Resume()
		load(t, client, getMethod, 5*time.Millisecond, 2500*time.Millisecond) // probes are up to 2 s apart
		if got := stateOf(client, hung.ID()); got != event.Eligible {
			t.Errorf("state after its return: %v: want %v", got, event.Eligible)
		}
		if n := hung.Calls() - before; n == 0 {
			t.Error("no call reached it after its return")
		}
	})
}

// Calls that cannot be retried have no timeout of their own, and show a hang all the
// same: only those that were sent before it was found wait.
func TestHangIsFoundByCallsThatCannotBeRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 5)
		client := ready(t, cluster, surecall.WithCallDeadline(time.Second))
		for range 60 {
			if _, err := unary(t.Context(), client, placeMethod); err != nil {
				t.Fatal(err)
			}
		}
		hung := cluster.Instance(0)
		began := time.Now()
		hung.Hang()
		for _, r := range load(t, client, placeMethod, 5*time.Millisecond, 3*time.Second) {
			if r.err != nil && r.began.Sub(began) > 200*time.Millisecond {
				t.Errorf("a call that began %v after the hang failed: %v", r.began.Sub(began), r.err)
			}
			if r.err != nil && r.took != time.Second {
				t.Errorf("a call failed after %v: want its deadline, or its instance's answer", r.took)
			}
		}
		if got := stateOf(client, hung.ID()); got != event.Ejected {
			t.Errorf("state of the hanging instance: %v: want %v", got, event.Ejected)
		}
	})
}

// An instance whose calls are slow is not ejected for that: it answers probes.
func TestSlowIsNotHung(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		ejected := false
		client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithEvents(func(e event.Event) {
			if c, ok := e.(event.InstanceChanged); ok && c.To == event.Ejected {
				ejected = true
			}
		}))
		teach(t, cluster, client, 60, 5*time.Millisecond)
		for _, i := range cluster.Instances() {
			i.Delay(3 * time.Second)
		}
		load(t, client, placeMethod, 100*time.Millisecond, 10*time.Second)
		if ejected {
			t.Error("an instance that answers probes was ejected")
		}
	})
}

// While nothing is called, a hang goes unnoticed, unless it is asked for.
func TestActiveProbe(t *testing.T) {
	for _, active := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 3)
			opts := []surecall.Option{}
			if active {
				opts = append(opts, surecall.WithActiveProbe(250*time.Millisecond))
			}
			client := ready(t, cluster, opts...)
			get(t, client)
			hung := cluster.Instance(1)
			hung.Hang()
			time.Sleep(500 * time.Millisecond)
			want := event.Eligible
			if active {
				want = event.Ejected
			}
			if got := stateOf(client, hung.ID()); got != want {
				t.Errorf("active probe %v: state after 500 ms without calls: %v: want %v", active, got, want)
			}
			if !active { // the first call to meet it is answered elsewhere
				wantAll(t, load(t, client, getMethod, time.Second, 6*time.Second), 250*time.Millisecond)
			}
		})
	}
}

// The connection to an instance that hangs for long is closed and made anew, once no
// unary call waits on it any more.
func TestHungConnectionIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		teach(t, cluster, client, 60, 5*time.Millisecond)
		hung := cluster.Instance(0)
		dials := hung.Dials()
		hung.Hang()
		load(t, client, getMethod, 20*time.Millisecond, 10*time.Second)
		if got := hung.Dials() - dials; got == 0 {
			t.Error("it was not dialled anew in ten seconds")
		}
		if got := stateOf(client, hung.ID()); got == event.Eligible {
			t.Errorf("state of the hanging instance: %v", got)
		}
		hung.Resume()
		load(t, client, getMethod, 20*time.Millisecond, 6*time.Second)
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
		load(4 * time.Second)
		hung.Resume()
		load(60 * time.Second) // found, and grown to its full share
		before := hung.Calls()
		load(20 * time.Second)
		if got := hung.Calls() - before; got < 300 {
			t.Errorf("%d of 2000 calls went to the instance that is back: want about a fifth", got)
		}
	})
}

// While all hang, they serve: there is nobody else.
func TestHungServeIfThereIsNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
		teach(t, cluster, client, 60, 5*time.Millisecond)
		hangAll(cluster)
		time.AfterFunc(2*time.Second, func() { resumeAll(cluster) })
		if _, err := unary(t.Context(), client, getMethod); err != nil {
			t.Errorf("a call while all hung, and came back within its deadline: %v", err)
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

// When most instances seem to hang, it is likelier that all are short of time, or that we
// are: half of them are passed over as quickly as ever, the others serve until they leave
// a longer probe unanswered. Ejecting all but one for a moment of theirs would crowd all
// calls onto that one.
func TestHalfMayBeEjectedQuickly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 5)
		client := ready(t, cluster, surecall.WithoutBreaker(), surecall.WithoutServiceBreaker())
		teach(t, cluster, client, 60, 5*time.Millisecond)
		out := func() (n int) {
			for _, i := range client.Instances() {
				if i.State != event.Eligible {
					n++
				}
			}
			return n
		}
		hangAll(cluster)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			load(t, client, getMethod, 5*time.Millisecond, time.Second)
		}()
		advance(400 * time.Millisecond)
		if n := out(); n != 2 {
			t.Errorf("%d of 5 are out after 400 ms: want 2", n)
		}
		advance(600 * time.Millisecond)
		if n := out(); n != 5 {
			t.Errorf("%d of 5 are out after a second: want all", n)
		}
		resumeAll(cluster)
		<-ended
		advance(2 * time.Second)
		if n := out(); n != 0 {
			t.Errorf("%d of 5 are out after their return", n)
		}
	})
}
