package discoverytest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/discoverytest"
	"github.com/surecall/surecall/discovery/memory"
)

// fault is a source that breaks one promise. The suite must find it in the part named.
type fault struct {
	part  string
	watch func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error
}

var faults = map[string]fault{
	"loses a change": {"Changes", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		n := 0
		return r.Watch(ctx, q, func(s discovery.Snapshot) {
			if n++; n != 3 {
				update(s)
			}
		})
	}},
	"reports only what is new": {"Changes", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		known := map[string]bool{}
		return r.Watch(ctx, q, func(s discovery.Snapshot) {
			var news []discovery.Instance
			for _, i := range s.Instances {
				if !known[i.ID] {
					news = append(news, i)
				}
				known[i.ID] = true
			}
			s.Instances = news
			update(s)
		})
	}},
	"repeats itself": {"Changes", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		return r.Watch(ctx, q, func(s discovery.Snapshot) { update(s); update(s) })
	}},
	"ignores tags": {"Tags", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		q.Tags = nil
		return r.Watch(ctx, q, update)
	}},
	"takes critical ones": {"Healths", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		q.Accept = discovery.AcceptAny
		return r.Watch(ctx, q, update)
	}},
	"calls update at once": {"Serial", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		var calls sync.WaitGroup
		defer calls.Wait()
		return r.Watch(ctx, q, func(s discovery.Snapshot) { calls.Go(func() { update(s) }) })
	}},
	"takes failure for empty": {"Failure", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		return r.Watch(ctx, q, func(s discovery.Snapshot) { s.Err = nil; update(s) })
	}},
	"is silent when empty": {"Empty", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		return r.Watch(ctx, q, func(s discovery.Snapshot) {
			if len(s.Instances) > 0 {
				update(s)
			}
		})
	}},
	"hides why it ended": {"Cancel", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		if _ = r.Watch(ctx, q, update); q.Service == "" {
			return errors.New("no service")
		}
		return nil
	}},
	"leaves a goroutine": {"Leaks", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		go func() { select {} }()
		return r.Watch(ctx, q, update)
	}},
	"takes any query": {"Refused", func(r *memory.Registry, ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
		q.Service += "-"
		return r.Watch(ctx, q, update)
	}},
}

type faulty struct {
	*memory.Registry
	fault fault
}

func (f faulty) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	return f.fault.watch(f.Registry, ctx, q, update)
}

// TestFaults runs the suite on each fault in a process of its own, where it may fail.
func TestFaults(t *testing.T) {
	if name := os.Getenv("DISCOVERYTEST_FAULT"); name != "" {
		// Only in a bubble is it certain that calls made at once meet.
		conform(t, name == "calls update at once", func(r *memory.Registry) discovery.Source { return faulty{r, faults[name]} })
		return
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			run := exec.Command(os.Args[0], "-test.run=^TestFaults$/^"+f.part+"$", "-test.v")
			run.Env = append(os.Environ(), "DISCOVERYTEST_FAULT="+name)
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestFaults/"+f.part) {
				t.Errorf("%s did not fail (%v):\n%s", f.part, err, out)
			}
		})
	}
}

// Without a fault the same harness passes, so a fault is all that the above finds.
func TestNoFault(t *testing.T) {
	conform(t, false, func(r *memory.Registry) discovery.Source { return r })
}

// The harness of a source that can do nothing still has parts to run, and what it
// cannot do is skipped by name.
func TestSkips(t *testing.T) {
	if os.Getenv("DISCOVERYTEST_BARE") != "" {
		discoverytest.Run(t, discoverytest.Harness{Source: memory.New(), Bubble: true})
		return
	}
	run := exec.Command(os.Args[0], "-test.run=^TestSkips$", "-test.v")
	run.Env = append(os.Environ(), "DISCOVERYTEST_BARE=1")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{`--- SKIP: TestSkips/Register`, `no Registrar`, `no Put`, `no Break and Heal`, `--- PASS: TestSkips/Refused`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func conform(t *testing.T, bubble bool, source func(*memory.Registry) discovery.Source) {
	registry := memory.New()
	sets := map[string]map[string]discovery.Instance{}
	write := func(service string) {
		var set []discovery.Instance
		for _, i := range sets[service] {
			set = append(set, i)
		}
		registry.Set(service, set...)
	}
	discoverytest.Run(t, discoverytest.Harness{
		Source: source(registry),
		Put: func(_ *testing.T, instances ...discovery.Instance) {
			for _, i := range instances {
				if sets[i.Service] == nil {
					sets[i.Service] = map[string]discovery.Instance{}
				}
				sets[i.Service][i.ID] = i
			}
			write(instances[0].Service)
		},
		Remove: func(_ *testing.T, service, id string) {
			delete(sets[service], id)
			write(service)
		},
		Break:    func(*testing.T) { registry.Fail(errors.New("on purpose")) },
		Heal:     func(*testing.T) { registry.Recover() },
		Quiet:    true,
		Bubble:   bubble,
		Deadline: 500 * time.Millisecond,
	})
}
