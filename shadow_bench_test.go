package surecall_test

import (
	"context"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/surecalltest"
)

// In shadow mode a call costs fewer allocations than it does without, whatever is configured:
// there is nothing to cut, and so no context for it.
func TestShadowAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	cluster := surecalltest.NewCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	count := func(client *surecall.Client) float64 {
		f := func() { call(ctx, t, client, getMethod) }
		for range 200 {
			f()
		}
		n := testing.AllocsPerRun(1000, f)
		return min(n, testing.AllocsPerRun(1000, f))
	}
	acts := count(sure(t, cluster))
	for name, opts := range map[string][]surecall.LiveOption{"defaults": nil, "all": surecall.AllPolicies()} {
		client := sure(t, cluster, surecall.WithShadow())
		update(t, client, opts...)
		n := count(client)
		t.Logf("%s: %v allocations, %v without shadow mode", name, n, acts)
		if n > acts {
			t.Errorf("%s: %v allocations: want at most %v", name, n, acts)
		}
	}
}

func BenchmarkShadow(b *testing.B) {
	cluster := surecalltest.NewCluster(b, 3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for name, client := range map[string]*surecall.Client{"acts": sure(b, cluster), "shadow": sure(b, cluster, surecall.WithShadow())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(ctx, b, client, getMethod)
			}
		})
	}
}
