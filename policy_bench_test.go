package surecall

import (
	"context"
	"testing"
	"time"

	"github.com/surecall/surecall/examples/orders"
)

// BenchmarkPolicy is what surecall adds to a call of an idempotent method under each policy
// by itself, and under all of them, while none has to act: what a policy costs is the
// difference to "none". gRPC is left out, beside which these differences could not be
// seen: BenchmarkUnary has it.
func BenchmarkPolicy(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	req, reply := &orders.GetRequest{}, &orders.Order{}
	for _, p := range append(Policies(), PolicyCost{Name: "all", Options: AllPolicies()}, PolicyCost{Name: "all, reserve and cache too", Options: AndSecondBest()}) {
		if p.Name == "call ID and what the server makes of it" {
			p.Name = "call ID" // there is no server here
		}
		c, picker := newStub(b, 10)
		if err := c.update(p.Options); err != nil {
			b.Fatal(err)
		}
		invoker := answering(b, picker)
		call := func() {
			if err := c.unary(ctx, orders.Orders_Get_FullMethodName, req, reply, nil, invoker); err != nil {
				b.Error(err)
			}
		}
		for range 100 {
			call() // latencies are learned
		}
		b.Run(p.Name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
		b.Run(p.Name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call()
				}
			})
		})
	}
}
