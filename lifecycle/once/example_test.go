package once_test

import (
	"context"
	"fmt"
	"time"

	"github.com/surecall/surecall/lifecycle/once"
)

// A store keeps what was written first, and tells who waits for a change.
func ExampleMemory() {
	store, err := once.NewMemory(once.MemoryPolicy{TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	first, written, _ := store.Put(ctx, "call 1", 0, []byte("running"))
	fmt.Println(written)
	now, written, _ := store.Put(ctx, "call 1", 0, []byte("running, for somebody else"))
	fmt.Printf("%v: %s\n", written, now.Value)

	time.AfterFunc(10*time.Millisecond, func() { _, _, _ = store.Put(ctx, "call 1", first.Version, []byte("settled")) })
	now, _ = store.Wait(ctx, "call 1", first.Version)
	fmt.Printf("%s\n", now.Value)
	// Output:
	// true
	// false: running
	// settled
}
