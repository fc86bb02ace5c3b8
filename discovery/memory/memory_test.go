package memory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
)

// watch starts a watch and returns a function that says what it last reported, once
// all is quiet, and how many reports there were.
func watch(t *testing.T, r *memory.Registry, q discovery.Query) func() (discovery.Snapshot, int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var (
		mu      sync.Mutex
		last    discovery.Snapshot
		reports int
	)
	update := func(s discovery.Snapshot) {
		mu.Lock()
		defer mu.Unlock()
		last, reports = s, reports+1
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Watch(ctx, q, update); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch returned %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() (discovery.Snapshot, int) {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return last, reports
	}
}

// line renders a set in one line.
func line(s discovery.Snapshot) string {
	if s.Err != nil {
		return "failed: " + s.Err.Error()
	}
	var parts []string
	for _, i := range s.Instances {
		parts = append(parts, fmt.Sprintf("%s/%d/%s", i.ID, i.Weight, i.Health))
	}
	if s.Doubt != nil {
		parts = append(parts, "doubted")
	}
	return strings.Join(parts, " ")
}

func register(t *testing.T, r *memory.Registry, reg discovery.Registration) discovery.Lease {
	t.Helper()
	if reg.Instance.Service == "" {
		reg.Instance.Service = "orders"
	}
	if reg.Instance.Address == "" {
		reg.Instance.Address = "10.0.0.1:50051"
	}
	lease, err := r.Register(t.Context(), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lease.Release(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return lease
}

var anyHealth = discovery.Query{Service: "orders", Accept: discovery.AcceptAny}

// server is the health of a server under test, which can be told to hang.
type server struct{ health chan discovery.Health }

func newServer(h discovery.Health) *server {
	s := &server{make(chan discovery.Health, 1)}
	s.health <- h
	return s
}

func (s *server) say(h discovery.Health) { <-s.health; s.health <- h }

func (s *server) Health(ctx context.Context) (discovery.Health, string) {
	h := <-s.health
	s.health <- h
	if h == hanging {
		<-ctx.Done()
		return discovery.Passing, ""
	}
	return h, "as told"
}

const hanging = discovery.Health(200)

func TestHeartBeatsAndTheirAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := memory.New(), newServer(discovery.Passing)
		seen := watch(t, r, anyHealth)
		register(t, r, discovery.Registration{
			Instance:        discovery.Instance{ID: "a", Weight: 4},
			TTL:             3 * time.Second,
			Health:          srv.Health,
			WarningWeight:   2,
			DeregisterAfter: time.Minute,
		})
		for _, step := range []struct {
			say   discovery.Health
			after time.Duration
			want  string
		}{
			{discovery.Passing, time.Hour, "a/4/passing"},
			{discovery.Warning, time.Second, "a/2/warning"},
			{discovery.Critical, time.Second, "a/4/critical"},
			{discovery.Critical, 58 * time.Second, "a/4/critical"},
			{discovery.Passing, time.Second, "a/4/passing"},
			{hanging, 3*time.Second - 1, "a/4/passing"}, // last beat: at the step's start
			{hanging, 1, "a/4/critical"},
			{hanging, time.Minute - 1, "a/4/critical"},
			{hanging, 1, ""},
			{hanging, time.Hour, ""},
			{discovery.Passing, 2 * time.Second, "a/4/passing"},
			{discovery.Maintenance, time.Second, ""},
			{discovery.Passing, time.Second, "a/4/passing"},
		} {
			synctest.Wait()
			srv.say(step.say)
			time.Sleep(step.after)
			if s, _ := seen(); line(s) != step.want {
				t.Fatalf("%v after it said %v: %q, want %q", step.after, step.say, line(s), step.want)
			}
		}
	})
}

// A heart-beat that says what was known already wakes nobody.
func TestQuietWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		register(t, r, discovery.Registration{Instance: discovery.Instance{ID: "a"}})
		seen := watch(t, r, anyHealth)
		time.Sleep(24 * time.Hour)
		r.Set("payments", discovery.Instance{Address: "10.0.0.1:1"})
		if s, n := seen(); n != 1 || line(s) != "a/1/passing" {
			t.Errorf("%d reports, the last %q", n, line(s))
		}
	})
}

func TestAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var source discovery.Freshness
		r := memory.New()
		source = r
		age := func() time.Duration {
			at, ok := source.Answered(discovery.Query{Service: "orders"})
			if !ok {
				t.Error("no answer")
			}
			return time.Since(at)
		}
		if got := age(); got != 0 {
			t.Errorf("%v old", got)
		}
		r.Fail(errors.New("down"))
		time.Sleep(time.Minute)
		r.Fail(errors.New("still down"))
		time.Sleep(time.Minute)
		if got := age(); got != 2*time.Minute {
			t.Errorf("two minutes after it failed: %v old", got)
		}
		r.Recover()
		if got := age(); got != 0 {
			t.Errorf("after it recovered: %v old", got)
		}
		if _, ok := r.Answered(discovery.Query{Datacenter: "eu"}); ok {
			t.Error("a query that it refuses has an answer")
		}
	})
}
