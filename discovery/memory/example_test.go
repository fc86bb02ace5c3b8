package memory_test

import (
	"context"
	"fmt"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	registry := memory.New()

	lease, err := registry.Register(ctx, discovery.Registration{
		Instance: discovery.Instance{Service: "orders", ID: "orders-1", Address: "10.0.0.1:50051", Weight: 3},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	snapshots := make(chan discovery.Snapshot)
	go func() {
		_ = registry.Watch(ctx, discovery.Query{Service: "orders"}, func(s discovery.Snapshot) { snapshots <- s })
	}()
	fmt.Println(len((<-snapshots).Instances), "instance")
	if err := lease.Release(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println(len((<-snapshots).Instances), "instances")
	// Output:
	// 1 instance
	// 0 instances
}

func ExampleRegistry_Fail() {
	registry := memory.New()
	registry.Set("orders", discovery.Instance{Address: "10.0.0.1:50051"})
	registry.Fail(fmt.Errorf("no leader"))

	ctx, cancel := context.WithCancel(context.Background())
	err := registry.Watch(ctx, discovery.Query{Service: "orders"}, func(s discovery.Snapshot) {
		fmt.Println(s.Err)
		cancel()
	})
	fmt.Println(err)
	// Output:
	// discovery/memory: no leader
	// context canceled
}
