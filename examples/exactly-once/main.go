// Command exactly-once counts to a number over a network that does its worst: instances
// are killed, again and again, after they have counted and before they have answered.
//
//	go run ./examples/exactly-once                             the store in memory
//	go run ./examples/exactly-once -consul 127.0.0.1:8500      the store in Consul's KV
//	go run ./examples/exactly-once -without                    how it ends without: too high
//
// Each call has an ID, the same with all its attempts, and the servers drop repeats by
// it. Which calls have one says the client, in this file; that repeats are dropped say
// the servers, in server.go; how to write a store of one's own says kvstore.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/examples/exactly-once/kvstore"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle/once"
	"github.com/surecall/surecall/retry"
)

// config is what the flags say.
type config struct {
	consul    string
	without   bool
	calls     int
	callers   int
	instances int
	killEach  int
}

func main() {
	var c config
	flag.StringVar(&c.consul, "consul", "", "address of Consul, to keep the store in its KV under surecall-example/; default in memory")
	flag.BoolVar(&c.without, "without", false, "do not drop repeats")
	flag.IntVar(&c.calls, "calls", 2000, "how far to count")
	flag.IntVar(&c.callers, "callers", 16, "calls at the same time")
	flag.IntVar(&c.instances, "instances", 3, "servers")
	flag.IntVar(&c.killEach, "kill-each", 100, "executions from one kill to the next")
	flag.Parse()
	if err := run(context.Background(), c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "exactly-once:", err)
		os.Exit(1)
	}
}

// run counts, and fails if the count is not exact.
func run(ctx context.Context, c config, out io.Writer) error {
	if min(c.calls, c.callers, c.instances, c.killEach) < 1 {
		return fmt.Errorf("-calls %d, -callers %d, -instances %d, -kill-each %d: want at least 1", c.calls, c.callers, c.instances, c.killEach)
	}
	store, err := newStore(c)
	if err != nil {
		return err
	}
	registry := memory.New() // consul.New(consul.Config{}) for the real one
	counter := &counter{killEach: int64(c.killEach)}
	for range c.instances {
		stop, err := serve(ctx, registry, counter, store)
		if err != nil {
			return err
		}
		defer stop()
	}
	client, err := surecall.NewClient("memory:///"+service,
		surecall.WithSource(registry), surecall.WithInsecure(),
		// To place an order twice places two. But the servers drop repeats, so it may be
		// retried as if it were idempotent. One without the other helps nobody.
		surecall.ForMethod(orders.Orders_Place_FullMethodName,
			surecall.WithCallID(), surecall.AsIdempotent(),
			surecall.WithRetry(retry.Policy{MaxAttempts: 6})),
		// A kill fails all calls of its instance at once, and here are more kills than any
		// service should have: what is kept for retries holds more than by default.
		surecall.WithRetryBudget(retry.BudgetPolicy{MinCapacity: 500}),
	)
	if err != nil {
		return err
	}
	began := time.Now()
	failed, last := count(ctx, orders.NewOrdersClient(client), c)
	_, err = fmt.Fprintf(out, "%d calls in %v: %d failed; %d kills; the counter is at %d\n",
		c.calls, time.Since(began).Round(time.Millisecond), failed, counter.kills.Load(), counter.value.Load())
	if err := errors.Join(err, client.Close()); err != nil {
		return err
	}
	switch n := counter.value.Load(); {
	case failed > 0:
		return fmt.Errorf("%d calls failed, the last with: %w", failed, last)
	case n != int64(c.calls):
		return fmt.Errorf("%d calls were executed %d times", c.calls, n)
	}
	return nil
}

// newStore returns what the instances share; nil for nothing.
func newStore(c config) (once.Store, error) {
	switch {
	case c.without:
		return nil, nil
	case c.consul == "":
		return once.NewMemory(once.MemoryPolicy{})
	}
	client, err := api.NewClient(&api.Config{Address: c.consul})
	if err != nil {
		return nil, err
	}
	return kvstore.New(client, "surecall-example/exactly-once", 10*time.Second)
}

// count makes the calls, and returns how many failed and why the last one did.
func count(ctx context.Context, stub orders.OrdersClient, c config) (failed int, last error) {
	var (
		calling sync.WaitGroup
		begun   atomic.Int64
		mu      sync.Mutex
	)
	for range c.callers {
		calling.Go(func() {
			for begun.Add(1) <= int64(c.calls) {
				if _, err := stub.Place(ctx, &orders.PlaceRequest{Item: "one more"}); err != nil {
					mu.Lock()
					failed, last = failed+1, err
					mu.Unlock()
				}
			}
		})
	}
	calling.Wait()
	return failed, last
}
