package discoverytest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

func first(t *testing.T, h Harness) {
	service, set := stocked(t, h)
	watch(t, h, discovery.Query{Service: service}).untilSet(set...)
}

func empty(t *testing.T, h Harness) {
	w := watch(t, h, discovery.Query{Service: newService()})
	if s := w.until("a first snapshot", func(discovery.Snapshot) bool { return true }); s.Err != nil || s.Doubt != nil || len(s.Instances) > 0 {
		t.Errorf("an unknown service is %s, want it known to be empty", show(s))
	}
}

func changes(t *testing.T, h Harness) {
	service := newService()
	w := watch(t, h, discovery.Query{Service: service})
	w.untilSet()

	one, two, three := instance(service, 1), instance(service, 2), instance(service, 3)
	h.put(t, one)
	w.untilSet(one)
	h.put(t, two, three)
	w.untilSet(one, two, three)
	two.Weight = 40
	h.put(t, two)
	w.untilSet(one, two, three)
	h.put(t, two) // says nothing new: Harness.Quiet is about this
	three.Address = "192.0.2.33:50051"
	h.put(t, three)
	w.untilSet(one, two, three)
	one.Health = discovery.Critical
	h.put(t, one)
	w.untilSet(two, three)
	one.Health = discovery.Passing
	h.put(t, one)
	w.untilSet(one, two, three)
	h.Remove(t, service, two.ID)
	w.untilSet(one, three)
	h.Remove(t, service, one.ID)
	h.Remove(t, service, three.ID)
	w.untilSet()
}

func healths(t *testing.T, h Harness) {
	service := newService()
	passing, warning, critical := instance(service, 1), instance(service, 2), instance(service, 3)
	warning.Health, critical.Health = discovery.Warning, discovery.Critical
	h.put(t, passing, warning, critical)
	watches := map[discovery.Accept]*watching{}
	for accept := discovery.AcceptUsable; accept <= discovery.AcceptAny; accept++ {
		watches[accept] = watch(t, h, discovery.Query{Service: service, Accept: accept})
	}
	watches[discovery.AcceptUsable].untilSet(passing, warning)
	watches[discovery.AcceptPassing].untilSet(passing)
	watches[discovery.AcceptPrefer].untilSet(passing, warning)
	watches[discovery.AcceptAny].untilSet(passing, warning, critical)

	passing.Health, warning.Health = discovery.Critical, discovery.Critical
	h.put(t, passing, warning)
	watches[discovery.AcceptUsable].untilSet()
	watches[discovery.AcceptPassing].untilSet()
	watches[discovery.AcceptPrefer].untilSet(passing, warning, critical)
	watches[discovery.AcceptAny].untilSet(passing, warning, critical)
}

func tags(t *testing.T, h Harness) {
	service := newService()
	one, two, three := instance(service, 1), instance(service, 2), instance(service, 3)
	one.Tags, two.Tags = []string{"v1", "eu"}, []string{"v2", "eu"}
	h.put(t, one, two, three)
	watch(t, h, discovery.Query{Service: service, Tags: []string{"eu"}}).untilSet(one, two)
	watch(t, h, discovery.Query{Service: service, Tags: []string{"EU", "v2"}}).untilSet(two)
	watch(t, h, discovery.Query{Service: service, Tags: []string{"v1", "v2"}}).untilSet()
}

// serial holds the second update back while the set changes. Nothing may come by; and
// when it returns, the last set must follow.
func serial(t *testing.T, h Harness) {
	service := newService()
	one, two, three := instance(service, 1), instance(service, 2), instance(service, 3)
	entered, leave := make(chan struct{}), make(chan struct{})
	calls := 0
	w := start(t.Context(), t, h, discovery.Query{Service: service}, func(discovery.Snapshot) {
		if calls++; calls == 2 {
			close(entered)
			select {
			case <-leave:
			case <-t.Context().Done():
			}
		}
	})
	w.untilSet()
	h.put(t, one)
	await(t, h, "a second update", entered)

	other := watch(t, h, discovery.Query{Service: service}) // shows when a change can be seen
	h.put(t, two)
	other.untilSet(one, two)
	h.put(t, three)
	other.untilSet(one, two, three)
	if h.Bubble {
		synctest.Wait() // whoever would call update meanwhile has done so
	}
	close(leave)
	w.untilSet(one, two, three)
}

func many(t *testing.T, h Harness) {
	const watches = 32
	service := newService()
	one, two := instance(service, 1), instance(service, 2)
	h.put(t, one)
	var all []*watching
	for range watches {
		all = append(all, watch(t, h, discovery.Query{Service: service}))
	}
	for _, w := range all {
		w.untilSet(one)
	}
	for _, w := range all[:watches/2] {
		w.cancel() // must not disturb the others
	}
	h.put(t, two)
	for _, w := range all[watches/2:] {
		w.untilSet(one, two)
	}
}

func cancels(t *testing.T, h Harness) {
	service, set := stocked(t, h)
	q := discovery.Query{Service: service}

	quiet := watch(t, h, q)
	quiet.untilSet(set...)
	began := time.Now()
	quiet.cancel()
	wantCanceled(t, "while nothing happens", quiet.ended())

	ctx, cancel := context.WithCancel(t.Context())
	within := start(ctx, t, h, q, func(discovery.Snapshot) { cancel() })
	wantCanceled(t, "inside update", within.ended())

	before := start(ctx, t, h, q, nil) // ctx has ended
	wantCanceled(t, "before Watch", before.ended())
	if took := time.Since(began); took > h.Deadline/2 {
		t.Errorf("three watches took %v to end", took)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := start(ctx, t, h, q, nil).ended(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past its context's deadline Watch returned %v", err)
	}
}

func wantCanceled(t *testing.T, when string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("its context cancelled %s, Watch returned %v", when, err)
	}
}

func refused(t *testing.T, h Harness) {
	for _, q := range append([]discovery.Query{{}}, h.Refused...) {
		err := start(t.Context(), t, h, q, func(s discovery.Snapshot) {
			t.Errorf("%+v has a snapshot: %s", q, show(s))
		}).ended()
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%+v: Watch returned %v, want an error that says why", q, err)
		}
	}
}

func failure(t *testing.T, h Harness) {
	service := newService()
	one, two := instance(service, 1), instance(service, 2)
	h.put(t, one)
	w := watch(t, h, discovery.Query{Service: service})
	w.untilSet(one)

	healed := false
	h.Break(t)
	t.Cleanup(func() {
		if !healed {
			h.Heal(t)
		}
	})
	w.until("an Err", func(s discovery.Snapshot) bool { return s.Err != nil })
	late := watch(t, h, discovery.Query{Service: service})
	late.until("an Err", func(s discovery.Snapshot) bool { return s.Err != nil })

	h.Heal(t)
	healed = true
	w.untilSet(one)
	late.untilSet(one)
	h.put(t, two)
	w.untilSet(one, two)
	late.untilSet(one, two)
}

// await waits for a channel to close.
func await(t *testing.T, h Harness, what string, c <-chan struct{}) {
	t.Helper()
	deadline := time.NewTimer(h.Deadline)
	defer deadline.Stop()
	select {
	case <-c:
	case <-deadline.C:
		t.Fatalf("not seen within %v: %s", h.Deadline, what)
	}
}
