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

func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		seen := watch(t, r, anyHealth)
		lives := func() map[string]string {
			s, _ := seen()
			m := map[string]string{}
			for _, i := range s.Instances {
				m[i.ID] = i.Incarnation
			}
			return m
		}
		a, b := discovery.Instance{ID: "a", Address: "h:1"}, discovery.Instance{ID: "b", Address: "h:2"}
		r.Set("orders", a, b)
		before := lives()
		if before["a"] == "" || before["a"] == before["b"] {
			t.Fatalf("lives %v: want one each", before)
		}
		r.Set("orders", a)
		r.Set("orders", a, b)
		after := lives()
		if after["a"] != before["a"] {
			t.Error("an instance that stayed became a new life")
		}
		if after["b"] == before["b"] {
			t.Error("an instance that left came back as the same life")
		}
		a.Address = "h:3"
		r.Set("orders", a, discovery.Instance{ID: "x", Address: "nowhere"}, discovery.Instance{ID: "a", Address: "h:4"})
		if lives()["a"] == after["a"] {
			t.Error("another address is the same life")
		}
		if s, _ := seen(); len(s.Instances) != 1 || len(s.Problems) != 2 {
			t.Errorf("%d instances and %v, want one and two problems", len(s.Instances), s.Problems)
		}
	})
}

// What the caller does with its slices and maps later is not seen.
func TestRegistryKeepsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		seen := watch(t, r, anyHealth)
		tags, meta := []string{"v1"}, map[string]string{"k": "v1"}
		r.Set("orders", discovery.Instance{ID: "a", Address: "h:1", Tags: tags, Meta: meta})
		register(t, r, discovery.Registration{Instance: discovery.Instance{ID: "b", Tags: tags, Meta: meta}})
		tags[0], meta["k"] = "v2", "v2"
		s, _ := seen()
		for _, i := range s.Instances {
			if i.Tags[0] != "v1" || i.Meta["k"] != "v1" {
				t.Errorf("%s has %v %v", i.ID, i.Tags, i.Meta)
			}
		}
	})
}

func TestReregistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		seen := watch(t, r, anyHealth)
		life := func() string { s, _ := seen(); return s.Instances[0].Incarnation }
		reg := discovery.Registration{Instance: discovery.Instance{ID: "a"}, TTL: 3 * time.Second}

		first := register(t, r, reg)
		one := life()
		register(t, r, reg)
		if life() == one {
			t.Error("a registration without an incarnation continued the life of the one before")
		}
		reg.Instance.Incarnation = "n1"
		register(t, r, reg)
		register(t, r, reg)
		if life() != "n1" {
			t.Errorf("life %q, want the one that was given", life())
		}

		i := reg.Instance
		i.Service, i.Address = "orders", "10.0.0.1:50051"
		if err := first.Update(t.Context(), i); err == nil || !strings.Contains(err.Error(), "lost") {
			t.Errorf("Update of a lost lease: %v", err)
		}
		time.Sleep(time.Minute)
		if err := first.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if s, _ := seen(); line(s) != "a/1/passing" {
			t.Errorf("a lost lease took its successor along: %q", line(s))
		}
	})
}

// A registry that lost an instance gets it back with the next heart-beat, as the same
// life.
func TestLostInstanceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		seen := watch(t, r, anyHealth)
		register(t, r, discovery.Registration{Instance: discovery.Instance{ID: "a"}, TTL: 3 * time.Second})
		before, _ := seen()
		r.Set("orders")
		if s, _ := seen(); len(s.Instances) != 0 {
			t.Fatalf("%q", line(s))
		}
		time.Sleep(time.Second)
		after, _ := seen()
		if line(after) != "a/1/passing" || after.Instances[0].Incarnation != before.Instances[0].Incarnation {
			t.Errorf("%+v after %+v", after.Instances, before.Instances)
		}
	})
}

func TestTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cause := memory.New(), errors.New("on purpose")
		seen := watch(t, r, anyHealth)
		lease := register(t, r, discovery.Registration{Instance: discovery.Instance{ID: "a"}, TTL: 3 * time.Second, DeregisterAfter: time.Minute})
		want := func(want string) {
			t.Helper()
			if s, _ := seen(); line(s) != want {
				t.Errorf("%q, want %q", line(s), want)
			}
		}
		want("a/1/passing")
		r.Doubt(cause)
		want("a/1/passing doubted")
		if s, _ := seen(); !errors.Is(s.Doubt, cause) {
			t.Errorf("doubt %v does not wrap %v", s.Doubt, cause)
		}
		r.Fail(cause)
		want("failed: discovery/memory: on purpose")
		r.Set("orders", discovery.Instance{ID: "b", Address: "h:2"})
		want("failed: discovery/memory: on purpose")
		if _, err := r.Register(t.Context(), discovery.Registration{Instance: discovery.Instance{Service: "orders", Address: "h:1"}}); !errors.Is(err, cause) {
			t.Errorf("Register: %v", err)
		}
		if err := lease.Update(t.Context(), discovery.Instance{Service: "orders", Address: "h:1"}); !errors.Is(err, cause) {
			t.Errorf("Update: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait() // a is back
		if err := lease.Release(t.Context()); !errors.Is(err, cause) {
			t.Errorf("Release: %v", err)
		}
		r.Recover()
		want("a/1/passing b/1/passing") // it could not be taken out
		time.Sleep(3 * time.Second)
		want("a/1/critical b/1/passing")
		time.Sleep(time.Minute)
		want("b/1/passing")
	})
}

// A Health that never returns cannot keep Release for longer than its context.
func TestReleaseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stuck, asked := memory.New(), make(chan struct{}), 0
		lease, err := r.Register(t.Context(), discovery.Registration{
			Instance: discovery.Instance{Service: "orders", Address: "h:1"},
			TTL:      3 * time.Second,
			Health: func(context.Context) (discovery.Health, string) {
				if asked++; asked > 1 {
					<-stuck
				}
				return discovery.Passing, ""
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		seen := watch(t, r, anyHealth)
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lease.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Release: %v", err)
		}
		close(stuck)
		time.Sleep(time.Minute)
		if s, _ := seen(); len(s.Instances) != 0 {
			t.Errorf("a heart-beat after Release: %q", line(s))
		}
	})
}

func TestRegisterRefuses(t *testing.T) {
	for want, reg := range map[string]discovery.Registration{
		"registration GRPC": {Instance: discovery.Instance{Service: "orders", Address: "h:1"}, GRPC: &discovery.GRPCCheck{}},
		`Address "h"`:       {Instance: discovery.Instance{Service: "orders", Address: "h"}},
		"Service is empty":  {Instance: discovery.Instance{Address: "h:1"}},
	} {
		if _, err := memory.New().Register(t.Context(), reg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := memory.New(), newServer(discovery.Passing)
		explain := func(want string, tags ...string) {
			t.Helper()
			if got := r.Explain(t.Context(), discovery.Query{Service: "orders", Tags: tags}); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		explain("memory has none")
		register(t, r, discovery.Registration{Instance: discovery.Instance{ID: "a", Tags: []string{"v1"}}, TTL: 3 * time.Second, Health: srv.Health})
		explain("")
		explain("memory has 1, none with the tags v2", "v2")
		srv.say(discovery.Critical)
		time.Sleep(2 * time.Second)
		explain("memory has 1, critical: as told")
		srv.say(discovery.Passing)
		time.Sleep(2 * time.Second)
		srv.say(hanging)
		time.Sleep(5 * time.Second)
		r.Set("orders", discovery.Instance{ID: "b", Address: "h:1", Health: discovery.Maintenance})
		explain("memory has 1, maintenance")
		r.Fail(errors.New("on purpose"))
		explain("discovery/memory: on purpose")
		r.Recover()
		srv.say(discovery.Passing)
	})
}

func TestExplainTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := memory.New(), newServer(discovery.Passing)
		register(t, r, discovery.Registration{Instance: discovery.Instance{ID: "a"}, TTL: 3 * time.Second, Health: srv.Health})
		srv.say(hanging)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got, want := r.Explain(t.Context(), discovery.Query{Service: "orders"}), "memory has 1, critical: TTL expired"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Whatever happens at once, each watch ends with the last state, and nothing is left.
func TestAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory.New()
		seen := watch(t, r, anyHealth)
		var work sync.WaitGroup
		for n := range 8 {
			work.Go(func() {
				for range 50 {
					i := discovery.Instance{Service: "orders", ID: fmt.Sprint(n % 4), Address: fmt.Sprintf("h:%d", n+1)}
					lease, err := r.Register(t.Context(), discovery.Registration{Instance: i, TTL: 3 * time.Second})
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Second)
					i.Weight = 7
					_ = lease.Update(t.Context(), i) // may be lost to a neighbour
					_ = r.Explain(t.Context(), anyHealth)
					if err := lease.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()
		if s, _ := seen(); len(s.Instances) != 0 {
			t.Errorf("left: %q", line(s))
		}
		r.Set("orders", discovery.Instance{ID: "last", Address: "h:9"})
		if s, _ := seen(); line(s) != "last/1/passing" {
			t.Errorf("%q", line(s))
		}
	})
}
