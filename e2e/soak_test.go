package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall/event"
)

// The environment of the soak.
const (
	soakTime = "E2E_SOAK_TIME" // how long it lasts; default a minute, at most soakLongest
	soakSeed = "E2E_SOAK_SEED" // of what happens; default another one each time
)

const (
	soakServers    = 5                // at the beginning and at the end
	soakFewest     = 4                // below it nobody is taken out
	soakMost       = 8                // above it nobody joins
	soakGoroutines = 10               // that there may be more of at the end
	soakHeap       = 1.5              // times what it was, that the heap may be
	soakServer     = 4 << 10          // bytes more, that the harness keeps of each server that joined
	soakRest       = 10 * time.Second // before it is looked at

	// soakLoads is how many loads' items the soak may place; the load before it has those
	// that follow.
	soakLoads = 15
	// soakLongest is how long they last, less two minutes to recover in.
	soakLongest = soakLoads*loadItems/placeRate*time.Second - 2*time.Minute
)

// Servers join, leave, die and stand still, and Consul's agent restarts, at random. No
// idempotent call fails, and the client is as large at the end as at the beginning.
func TestSoak(t *testing.T) {
	needBinaries(t)
	lasts, err := time.ParseDuration(cmp.Or(os.Getenv(soakTime), "1m"))
	if err != nil {
		t.Fatalf("%s: %v", soakTime, err)
	}
	if lasts <= 0 || lasts > soakLongest {
		t.Fatalf("%s %v: want above 0 and at most %v, for which the servers' counters have room", soakTime, lasts, soakLongest)
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv(soakSeed), fmt.Sprint(rand.Uint64())), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", soakSeed, err)
	}
	t.Logf("%s=%d %s=%v", soakSeed, seed, soakTime, lasts)

	s := &soak{cluster: newCluster(t, setup{servers: soakServers, idle: true, patient: true}), random: rand.New(rand.NewPCG(seed, seed))}
	caller := s.newCaller(t)
	caller.await(t)
	s.client = caller.client
	s.live = slices.Clone(s.servers)
	s.zero = time.Now()

	// The first load makes the client what it is while it serves.
	warm := startLoad(t, caller.conn, s.zero, rate, soakLoads)
	time.Sleep(settle)
	warm.stop()
	s.seenBefore = s.received()
	time.Sleep(soakRest)
	goroutines, heap := size()
	tallied := newTallied()
	l := newLoad(caller.conn, s.zero, 0)
	l.deadline, l.note = patience, tallied.note

	s.begun = time.Now()
	l.start(t, rate)
	for time.Since(s.begun) < lasts {
		s.happens(t)
	}
	s.recover(t)
	time.Sleep(settle)
	l.stop()
	s.judgeSoak(t, tallied)

	// What the harness noted is not the client's: the failures of an hour are megabytes.
	l.note, l.goroutines = nil, nil
	caller.mu.Lock()
	caller.changes = nil
	caller.mu.Unlock()
	time.Sleep(soakRest)
	goroutinesAfter, heapAfter := size()
	t.Logf("goroutines: %d before, %d after; heap: %.2f MB before, %.2f MB after", goroutines, goroutinesAfter, mega(heap), mega(heapAfter))
	if goroutinesAfter > goroutines+soakGoroutines {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before: want at most %d more\n%s", goroutinesAfter, goroutines, soakGoroutines, buf[:runtime.Stack(buf, true)])
	}
	if most := soakHeap*float64(heap) + float64(s.joined*soakServer); float64(heapAfter) > most {
		t.Errorf("the heap is %.1f MB, %.1f MB before: want at most %.1f times as much, and %d bytes for each of %d that joined",
			mega(heapAfter), mega(heap), soakHeap, soakServer, s.joined)
	}
}

// size is how many goroutines and bytes there are.
func size() (goroutines int, heap uint64) {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

func mega(bytes uint64) float64 { return float64(bytes) / 1e6 }

// soak is what happens. What is drawn depends on the seed and on what was drawn before,
// and never on how long anything took.
type soak struct {
	*cluster
	random     *rand.Rand
	begun      time.Time
	live       []*server // that serve, or stand still for a while
	joined     int
	standing   *server
	since      int // steps since the agent was restarted
	happened   [5]int
	async      sync.WaitGroup
	seenBefore [methods]int
}

// What can happen.
const (
	join = iota
	leave
	kill
	stop
	agent
)

// happens waits a while and does one thing.
func (s *soak) happens(t *testing.T) {
	t.Helper()
	time.Sleep(200*time.Millisecond + time.Duration(s.random.Int64N(int64(2*time.Second))))
	what, n := s.random.IntN(5), s.random.IntN(len(s.live))
	atLeast := time.Duration(s.random.Int64N(int64(4 * time.Second)))
	keep := s.random.IntN(2) == 0
	s.since++
	srv := s.live[n]
	switch {
	case s.standing != nil && what != join && what != agent:
		// It goes on first: no more than one is to stand still or to be gone at a time.
		srv = s.standing
		s.standing = nil
		srv.cont(t)
		t.Logf("%v: %s goes on", s.at(), srv.id)
		return
	case what == join && len(s.live) < soakMost, len(s.live) < soakFewest:
		s.joins(t)
		what = join
	case what == leave && len(s.live) > soakFewest:
		s.live = slices.Delete(s.live, n, n+1)
		t.Logf("%v: %s leaves", s.at(), srv.id)
		s.async.Go(func() {
			if err := srv.end(); err != nil {
				t.Error(err)
			}
		})
	case what == kill && len(s.live) > soakFewest:
		s.live = slices.Delete(s.live, n, n+1)
		t.Logf("%v: %s is killed", s.at(), srv.id)
		srv.kill()
	case what == stop:
		t.Logf("%v: %s stands still", s.at(), srv.id)
		s.standing = srv
		srv.stop(t)
	case what == agent && s.since > 5:
		s.since = 0
		s.restarts(t, atLeast, keep)
	default:
		return
	}
	s.happened[what]++
}

func (s *soak) at() time.Duration { return round3(time.Since(s.begun)) }

func (s *soak) joins(t *testing.T) {
	t.Helper()
	s.joined++
	srv := s.add(t, spec{id: fmt.Sprintf("orders-soak-%d", s.joined)})
	t.Logf("%v: %s joined", s.at(), srv.id)
	s.live = append(s.live, srv)
}

func (s *soak) restarts(t *testing.T, gone time.Duration, keep bool) {
	t.Helper()
	t.Logf("%v: the agent is killed, and back in %v; it keeps its data: %v", s.at(), round3(gone), keep)
	s.agent.Kill()
	time.Sleep(gone)
	if err := s.agent.Restart(keep); err != nil {
		t.Fatal(err)
	}
}

// recover makes the fleet what it was at the beginning.
func (s *soak) recover(t *testing.T) {
	t.Helper()
	if s.standing != nil {
		s.standing.cont(t)
	}
	s.async.Wait()
	for len(s.live) < soakServers {
		s.joins(t)
	}
	leaveTogether(t, s.live[soakServers:]...)
	s.live = s.live[:soakServers]
	s.await(t, 30*time.Second, "all and only those that live are eligible", func() bool {
		known := s.client.Instances()
		for _, i := range known {
			if i.State != event.Eligible {
				return false
			}
		}
		return len(known) == soakServers
	})
}
