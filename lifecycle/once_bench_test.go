package lifecycle_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

// catcher is what a service is registered with, to be called without a server.
type catcher struct{ place grpc.MethodHandler }

func (c *catcher) RegisterService(desc *grpc.ServiceDesc, _ any) {
	for _, m := range desc.Methods {
		if m.MethodName == "Place" {
			c.place = m.Handler
		}
	}
}

// placeOnce returns what makes the n-th call of Place, with an ID of its own or without
// one, guarded or not.
func placeOnce(tb testing.TB, guarded, withID bool) func(n int) {
	var c catcher
	var registrar grpc.ServiceRegistrar = &c
	if guarded {
		store, err := once.NewMemory(once.MemoryPolicy{Keep: 200 * time.Millisecond})
		if err != nil {
			tb.Fatal(err)
		}
		registrar = lifecycle.New(lifecycle.Config{}).Once(registrar, once.Policy{Store: store, Lease: 100 * time.Millisecond})
	}
	impl := &handler{}
	orders.RegisterOrdersServer(registrar, impl)
	decode := func(any) error { return nil }
	return func(n int) {
		md := metadata.MD{":authority": {"orders"}, "content-type": {"application/grpc"}}
		if withID {
			md[wire.CallID] = []string{"WK3QXTZ2M5VYBNR7LDHGCSAPEO" + strconv.Itoa(n)}
		}
		if _, err := c.place(impl, metadata.NewIncomingContext(context.Background(), md), decode, nil); err != nil {
			tb.Error(err)
		}
	}
}

// A call without an ID pays nothing for the guard.
func TestAllocationsOfOnce(t *testing.T) {
	bare, guarded := placeOnce(t, false, false), placeOnce(t, true, false)
	a := testing.AllocsPerRun(1000, func() { bare(1) })
	b := testing.AllocsPerRun(1000, func() { guarded(1) })
	if a != b {
		t.Errorf("%v allocations with the guard, %v without", b, a)
	}
}

// BenchmarkOnce is what the guard costs, with the store in memory.
func BenchmarkOnce(b *testing.B) {
	for _, v := range []struct {
		name            string
		guarded, withID bool
	}{{"bare", false, false}, {"guarded, no ID", true, false}, {"guarded, ID", true, true}} {
		b.Run(v.name, func(b *testing.B) {
			call := placeOnce(b, v.guarded, v.withID)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				call(n)
			}
		})
	}
}
