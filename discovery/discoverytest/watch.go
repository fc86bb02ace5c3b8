package discoverytest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

// watching is one Watch under observation.
type watching struct {
	t       *testing.T
	h       Harness
	cancel  context.CancelFunc
	updates chan discovery.Snapshot
	result  chan error // what Watch returned

	inside   atomic.Bool // update runs
	returned atomic.Bool // Watch has
	last     *discovery.Snapshot
	within   func(discovery.Snapshot) // called inside update; nil does nothing
}

// watch starts a watch that ends with the part.
func watch(t *testing.T, h Harness, q discovery.Query) *watching {
	t.Helper()
	return start(t.Context(), t, h, q, nil)
}

func start(ctx context.Context, t *testing.T, h Harness, q discovery.Query, within func(discovery.Snapshot)) *watching {
	ctx, cancel := context.WithCancel(ctx)
	w := &watching{
		t:       t,
		h:       h,
		cancel:  cancel,
		updates: make(chan discovery.Snapshot, 4096),
		result:  make(chan error, 1),
		within:  within,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := h.Source.Watch(ctx, q, w.update)
		w.returned.Store(true)
		w.result <- err
	}()
	t.Cleanup(func() {
		cancel()
		deadline := time.NewTimer(h.Deadline)
		defer deadline.Stop()
		select {
		case <-ended:
		case <-deadline.C:
			t.Errorf("Watch has not returned %v after its context ended", h.Deadline)
		}
	})
	return w
}

// update is what the source calls.
func (w *watching) update(s discovery.Snapshot) {
	if !w.inside.CompareAndSwap(false, true) {
		w.t.Error("update was called while it ran")
		return
	}
	defer w.inside.Store(false)
	if w.returned.Load() {
		w.t.Error("update was called after Watch had returned")
		return
	}
	if _, problems := discovery.Sanitize(s.Instances); len(problems) > 0 {
		w.t.Errorf("the set is not usable as it is: %v", problems)
	}
	if w.h.Quiet && w.last != nil && reflect.DeepEqual(*w.last, s) {
		w.t.Errorf("twice the same update: %s", show(s))
	}
	w.last = &s
	if w.within != nil {
		w.within(s)
	}
	select {
	case w.updates <- s:
	default:
		w.t.Error("thousands of updates that nobody asked for")
	}
}

// until returns the first snapshot of which ok holds. It fails the part if none comes.
func (w *watching) until(what string, ok func(discovery.Snapshot) bool) discovery.Snapshot {
	w.t.Helper()
	deadline := time.NewTimer(w.h.Deadline)
	defer deadline.Stop()
	last := "no update"
	for {
		select {
		case s := <-w.updates:
			if ok(s) {
				return s
			}
			last = show(s)
		case err := <-w.result:
			w.t.Fatalf("Watch returned early: %v; want %s", err, what)
		case <-deadline.C:
			w.t.Fatalf("not seen within %v: %s; last: %s", w.h.Deadline, what, last)
		}
	}
}

// untilSet waits for exactly this set, known and not doubted.
func (w *watching) untilSet(want ...discovery.Instance) discovery.Snapshot {
	w.t.Helper()
	what := "the set " + show(discovery.Snapshot{Instances: want})
	return w.until(what, func(s discovery.Snapshot) bool {
		return s.Err == nil && s.Doubt == nil && matches(s.Instances, want)
	})
}

// ended returns what Watch returned.
func (w *watching) ended() error {
	w.t.Helper()
	deadline := time.NewTimer(w.h.Deadline)
	defer deadline.Stop()
	select {
	case err := <-w.result:
		return err
	case <-deadline.C:
		w.t.Fatalf("Watch has not returned within %v", w.h.Deadline)
		return nil
	}
}

// matches reports whether got is the set want. What want leaves empty may be anything,
// and got may have more tags and meta: a source can add its own.
func matches(got, want []discovery.Instance) bool {
	if len(got) != len(want) {
		return false
	}
	for _, w := range want {
		n := slices.IndexFunc(got, func(g discovery.Instance) bool { return g.ID == w.ID })
		if n < 0 || !like(got[n], w) {
			return false
		}
	}
	return true
}

func like(got, want discovery.Instance) bool {
	for _, tag := range want.Tags {
		if !slices.Contains(got.Tags, tag) {
			return false
		}
	}
	for k, v := range want.Meta {
		if got.Meta[k] != v {
			return false
		}
	}
	return got.Address == want.Address && got.Weight == max(want.Weight, 1) && got.Health == want.Health &&
		(want.Service == "" || got.Service == want.Service) &&
		(want.Zone == "" || got.Zone == want.Zone) &&
		(want.Incarnation == "" || got.Incarnation == want.Incarnation)
}

// show renders a snapshot in one line.
func show(s discovery.Snapshot) string {
	if s.Err != nil {
		return fmt.Sprintf("failed: %v", s.Err)
	}
	parts := make([]string, 0, len(s.Instances))
	for _, i := range s.Instances {
		parts = append(parts, fmt.Sprintf("{%s %s weight %d zone %q life %q %s tags %q meta %v}",
			i.ID, i.Address, i.Weight, i.Zone, i.Incarnation, i.Health, i.Tags, i.Meta))
	}
	slices.Sort(parts)
	text := "[" + strings.Join(parts, " ") + "]"
	if s.Doubt != nil {
		text += fmt.Sprintf(" doubted: %v", s.Doubt)
	}
	return text
}
