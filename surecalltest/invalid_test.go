package surecalltest_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// failed is a test that notes how it failed.
type failed struct {
	testing.TB
	why []string
}

func (f *failed) Helper() {}

func (f *failed) Errorf(format string, args ...any) {
	f.why = append(f.why, fmt.Sprintf(format, args...))
}

func (f *failed) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// What makes no sense fails the test with a message that says what does, and changes
// nothing.
func TestInvalidArguments(t *testing.T) {
	for want, misuse := range map[string]func(*failed, *surecalltest.Cluster){
		"DelaySome share 1.5: want 0 to 1": func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).DelaySome(1.5, time.Hour) },
		"DelaySome share NaN: want 0 to 1": func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).DelaySome(math.NaN(), time.Hour) },
		"delay -1s: want 0 or more":        func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).Delay(-time.Second) },
		"FailSome share -0.1: want 0 to 1": func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).FailSome(-0.1, codes.Internal) },
		"FailSome code OK: want that":      func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).FailSome(0.1, codes.OK) },
		"LoseAnswers share 2: want 0 to 1": func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).LoseAnswers(2) },
		"KillAfter calls -1: want 0":       func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).KillAfter(-1) },
		"Change(nil): want a function":     func(_ *failed, c *surecalltest.Cluster) { c.Instance(0).Change(nil) },
		"ID \"else\", address": func(_ *failed, c *surecalltest.Cluster) {
			c.Instance(0).Change(func(i *discovery.Instance) { i.ID = "else" })
		},
		"address \"10.9.9.9:80\": want \"orders-1\"": func(_ *failed, c *surecalltest.Cluster) {
			c.Instance(0).Change(func(i *discovery.Instance) { i.Address = "10.9.9.9:80" })
		},
		"SourceDown(nil): want an error":    func(_ *failed, c *surecalltest.Cluster) { c.SourceDown(nil) },
		"Instance(2): want 0 or more":       func(_ *failed, c *surecalltest.Cluster) { c.Instance(2) },
		"Instance(-1): want 0 or more":      func(_ *failed, c *surecalltest.Cluster) { c.Instance(-1) },
		"-1 instances":                      func(f *failed, _ *surecalltest.Cluster) { surecalltest.NewCluster(f, -1) },
		"nil: true: want 0 or more":         func(f *failed, _ *surecalltest.Cluster) { surecalltest.NewClusterOf(f, 1, nil) },
		"Capacity Workers 0: want 1":        capacity(surecalltest.Capacity{ServiceTime: time.Second}),
		"Capacity Workers -1: want 1":       capacity(surecalltest.Capacity{Workers: -1}),
		"Capacity ServiceTime -1s: want 0":  capacity(surecalltest.Capacity{Workers: 1, ServiceTime: -time.Second}),
		"Capacity Bound 1: want 0 (none)":   capacity(surecalltest.Capacity{Workers: 2, Bound: 1}),
		"Capacity Pushback 1s: want 0 or":   capacity(surecalltest.Capacity{Workers: 1, Pushback: time.Second}),
		"Capacity Pushback -1s: want 0 or ": capacity(surecalltest.Capacity{Workers: 1, Bound: 1, Pushback: -time.Second}),
	} {
		f := &failed{TB: t}
		cluster := surecalltest.NewCluster(f, 1)
		ended := make(chan struct{})
		go func() { // which Fatalf ends
			defer close(ended)
			misuse(f, cluster)
		}()
		<-ended
		if len(f.why) != 1 || !strings.HasPrefix(f.why[0], "surecalltest: ") || !strings.Contains(f.why[0], want) {
			t.Errorf("failed with %q: want %q", f.why, want)
		}
		if _, err := direct(t, cluster, 0).Get(t.Context(), &orders.GetRequest{}); err != nil || len(listed(t, cluster)) != 1 {
			t.Errorf("%s: it changed something: %v", want, err)
		}
	}
}

func capacity(c surecalltest.Capacity) func(*failed, *surecalltest.Cluster) {
	return func(_ *failed, cluster *surecalltest.Cluster) { cluster.Instance(0).Capacity(c) }
}

// A change that is refused leaves no trace, in maps neither.
func TestChangeRefused(t *testing.T) {
	f := &failed{TB: t}
	cluster := surecalltest.NewCluster(f, 1)
	i := cluster.Instance(0)
	i.Change(func(d *discovery.Instance) { d.Tags, d.Meta = []string{"a"}, map[string]string{"k": "a"} })
	i.Change(func(d *discovery.Instance) { d.Tags[0], d.Meta["k"], d.ID = "b", "b", "else" })
	i.List() // what the instance has is published again
	if got := listed(t, cluster)[0]; len(f.why) != 1 || got.Tags[0] != "a" || got.Meta["k"] != "a" {
		t.Errorf("failed with %q, and listed as %+v", f.why, got)
	}
}
