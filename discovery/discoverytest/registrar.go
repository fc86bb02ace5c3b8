package discoverytest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

// register registers, and releases when the part ends.
func register(t *testing.T, h Harness, r discovery.Registration) discovery.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.Deadline)
	defer cancel()
	lease, err := h.Registrar.Register(ctx, r)
	if err != nil {
		t.Fatalf("Register: %v", err)
	}
	t.Cleanup(func() { release(t, h, lease) })
	return lease
}

func release(t *testing.T, h Harness, lease discovery.Lease) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), h.Deadline)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		t.Errorf("Release: %v", err)
	}
}

func registers(t *testing.T, h Harness) {
	service := newService()
	w := watch(t, h, discovery.Query{Service: service})
	w.untilSet()
	i := instance(service, 7)
	i.Zone, i.Tags, i.Meta = "z1", []string{"v2", "eu"}, map[string]string{"build": "42"}
	register(t, h, discovery.Registration{Instance: i})
	w.untilSet(i)
}

func updates(t *testing.T, h Harness) {
	service := newService()
	w := watch(t, h, discovery.Query{Service: service})
	i := instance(service, 1)
	i.Meta = map[string]string{"build": "42"}
	lease := register(t, h, discovery.Registration{Instance: i})
	w.untilSet(i)
	ctx, cancel := context.WithTimeout(t.Context(), h.Deadline)
	defer cancel()

	i.Weight, i.Meta = 9, map[string]string{"build": "43"}
	if err := lease.Update(ctx, i); err != nil {
		t.Fatalf("Update: %v", err)
	}
	seen := w.untilSet(i).Instances[0].Incarnation
	i.Weight = 10
	if err := lease.Update(ctx, i); err != nil {
		t.Fatalf("Update: %v", err)
	}
	if now := w.untilSet(i).Instances[0].Incarnation; now != seen {
		t.Errorf("an update made a new life: %q after %q", now, seen)
	}

	other := i
	other.ID = i.ID + "-other"
	if lease.Update(ctx, other) == nil {
		t.Error("Update took a new ID")
	}
	other = i
	other.Service = newService()
	if lease.Update(ctx, other) == nil {
		t.Error("Update took a new service")
	}
}

func releases(t *testing.T, h Harness) {
	service := newService()
	w := watch(t, h, discovery.Query{Service: service, Accept: discovery.AcceptAny})
	stays, goes := instance(service, 1), instance(service, 2)
	register(t, h, discovery.Registration{Instance: stays})
	lease := register(t, h, discovery.Registration{Instance: goes})
	w.untilSet(stays, goes)
	release(t, h, lease)
	w.untilSet(stays)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := lease.Release(ended); err != nil {
		t.Errorf("a second Release: %v", err)
	}
	if lease.Update(t.Context(), goes) == nil {
		t.Error("Update works after Release")
	}
}

func beats(t *testing.T, h Harness) {
	service := newService()
	usable := watch(t, h, discovery.Query{Service: service})
	all := watch(t, h, discovery.Query{Service: service, Accept: discovery.AcceptAny})
	var health atomic.Int32
	i := instance(service, 4)
	register(t, h, discovery.Registration{
		Instance:      i,
		TTL:           1500 * time.Millisecond,
		WarningWeight: 2,
		Health: func(context.Context) (discovery.Health, string) {
			return discovery.Health(health.Load()), "as the suite says"
		},
	})
	usable.untilSet(i)

	health.Store(int32(discovery.Warning))
	warned := i
	warned.Health, warned.Weight = discovery.Warning, 2
	usable.untilSet(warned)

	health.Store(int32(discovery.Critical))
	usable.untilSet()
	all.until("it critical", func(s discovery.Snapshot) bool {
		return len(s.Instances) == 1 && s.Instances[0].Health == discovery.Critical
	})

	health.Store(int32(discovery.Passing))
	usable.untilSet(i)
}

func newLife(t *testing.T, h Harness) {
	service := newService()
	w := watch(t, h, discovery.Query{Service: service})
	i := instance(service, 1)
	i.Incarnation = "first"
	register(t, h, discovery.Registration{Instance: i})
	w.untilSet(i)
	i.Incarnation = "second"
	register(t, h, discovery.Registration{Instance: i})
	w.untilSet(i)
}

func addresses(t *testing.T, h Harness) {
	service := newService()
	w := watch(t, h, discovery.Query{Service: service})
	var set []discovery.Instance
	for n, address := range h.Addresses {
		i := instance(service, n+1)
		i.Address = address
		register(t, h, discovery.Registration{Instance: i})
		set = append(set, i)
	}
	w.untilSet(set...)
}

func bounded(t *testing.T, h Harness) {
	service := newService()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if lease, err := h.Registrar.Register(ended, discovery.Registration{Instance: instance(service, 1)}); err == nil {
		release(t, h, lease)
		t.Error("Register works with a context that has ended")
	}
	for _, r := range []discovery.Registration{
		{Instance: discovery.Instance{Service: service}},
		{Instance: discovery.Instance{Address: "192.0.2.1:50051"}},
		{Instance: instance(service, 2), TTL: time.Millisecond},
	} {
		if lease, err := h.Registrar.Register(t.Context(), r); err == nil {
			release(t, h, lease)
			t.Errorf("Register takes %+v", r)
		}
	}
	if took := time.Since(began); took > h.Deadline/2 {
		t.Errorf("refusing took %v", took)
	}
	w := watch(t, h, discovery.Query{Service: service, Accept: discovery.AcceptAny})
	w.until("no instance", func(s discovery.Snapshot) bool { return s.Err == nil && len(s.Instances) == 0 })

	lease := register(t, h, discovery.Registration{Instance: instance(service, 3)})
	if lease.Update(ended, instance(service, 3)) == nil {
		t.Error("Update works with a context that has ended")
	}
}
