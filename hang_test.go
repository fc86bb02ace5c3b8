package surecall_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// One instance hangs, as a stopped process does: it accepts calls and answers none.
// No idempotent call fails and none waits for it for longer than an attempt may take.
func TestOneInstanceHangs(t *testing.T) {
	for _, instances := range []int{2, 3, 10} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, instances), &log{}
			client := ready(t, cluster, events.option())
			teach(t, cluster, client, 40, 5*time.Millisecond)
			before := cluster.Instance(0).Calls()
			cluster.Instance(0).Hang()
			results := load(t, client, getMethod, 5*time.Millisecond, 10*time.Second)
			wantAll(t, results, 250*time.Millisecond)
			if n := cluster.Instance(0).Calls() - before; n > len(results)/20 {
				t.Errorf("%d instances: %d of %d attempts went to the one that hangs: want few", instances, n, len(results))
			}
			if changes := eventsOf[event.ServiceBreakerChanged](events); len(changes) > 0 {
				t.Errorf("%d instances: service breaker %+v", instances, changes)
			}
		})
	}
}

// It hangs from the first call on, when nothing is known of the method.
func TestOneInstanceHangsFromTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		cluster.Instance(0).Hang()
		client := cluster.Client()
		wantAll(t, load(t, client, getMethod, 20*time.Millisecond, 2*time.Second), 500*time.Millisecond)
	})
}

// All instances hang: callers are told so within 1.5 s, and as soon as one answers
// again, calls succeed.
func TestAllInstancesHang(t *testing.T) {
	for _, instances := range []int{1, 3} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, instances), &log{}
			client := ready(t, cluster, events.option())
			teach(t, cluster, client, 40, 5*time.Millisecond)
			hangAll(cluster)
			began := time.Now()
			var resumed time.Time
			time.AfterFunc(8*time.Second, func() {
				resumed = time.Now()
				cluster.Instance(0).Resume()
			})
			results := load(t, client, getMethod, 10*time.Millisecond, 10*time.Second)
			rejected, trials, failed, slow := 0, 0, 0, 0
			for _, r := range results {
				switch at := r.began; {
				case at.After(began.Add(1500*time.Millisecond)) && at.Before(resumed):
					if errors.Is(r.err, surecall.ErrServiceDown) && r.took == 0 {
						rejected++
					} else {
						trials++
					}
				case at.After(resumed.Add(300 * time.Millisecond)):
					if r.err != nil {
						failed++
					}
					if r.took > 250*time.Millisecond {
						slow++
					}
				}
			}
			// A trial each 50 ms is every fifth of these calls.
			if rejected < 4*trials-5 || rejected == 0 {
				t.Errorf("%d instances: while all hang, %d rejected at once and %d not: want one trial in 50 ms", instances, rejected, trials)
			}
			if failed > 0 || slow > 0 {
				t.Errorf("%d instances: 300 ms after one answers again, %d calls fail and %d are slow: want none", instances, failed, slow)
			}
			changes := eventsOf[event.ServiceBreakerChanged](events)
			if len(changes) != 2 || !changes[0].Open || changes[1].Open {
				t.Errorf("%d instances: service breaker %+v: want that it opens and closes, once", instances, changes)
			}
		})
	}
}

// They hang from the first call on, when nothing is known of the method: calls that end
// at their deadline with nothing heard from anybody open the service breaker too.
func TestAllInstancesHangFromTheStart(t *testing.T) {
	for _, method := range []string{getMethod, placeMethod} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 3)
			client := ready(t, cluster, surecall.WithCallDeadline(time.Second))
			hangAll(cluster)
			began := time.Now()
			rejected, waited := 0, 0
			for _, r := range load(t, client, method, 10*time.Millisecond, 6*time.Second) {
				if r.began.Before(began.Add(2500 * time.Millisecond)) {
					continue // the first deadlines, and a second without a success
				}
				if errors.Is(r.err, surecall.ErrServiceDown) {
					rejected++
				} else {
					waited++
				}
			}
			if rejected < 3*waited {
				t.Errorf("%s: %d calls were rejected at once and %d waited: want one trial in 50 ms", method, rejected, waited)
			}
			for _, i := range cluster.Instances() {
				i.Resume()
			}
		})
	}
}

// A method that must not be repeated waits for its instance, and ends at the deadline.
func TestHangOfWhatIsNotIdempotent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		teach(t, cluster, client, 40, 5*time.Millisecond)
		cluster.Instance(0).Hang()
		hung := 0
		for _, r := range load(t, client, placeMethod, 10*time.Millisecond, 10*time.Second) {
			if r.err != nil {
				hung++
				if r.took != surecall.DefaultCallDeadline {
					t.Fatalf("a call failed after %v: %v: want its deadline", r.took, status.Convert(r.err))
				}
			}
		}
		// The estimate grows with every moment of silence: few calls go there.
		if hung == 0 || hung > 50 {
			t.Errorf("%d of 1000 calls hung: want some and few", hung)
		}
	})
}

// Calls that a hang held and then answered teach nothing of how long the method takes:
// the hang that follows is felt as little as the first.
func TestHangTeachesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		teach(t, cluster, client, 40, 5*time.Millisecond)
		hangAll(cluster)
		time.AfterFunc(3*time.Second, func() { resumeAll(cluster) })
		load(t, client, getMethod, 10*time.Millisecond, 4*time.Second)
		cluster.Instance(0).Hang()
		wantAll(t, load(t, client, getMethod, 10*time.Millisecond, 4*time.Second), time.Second)
	})
}
