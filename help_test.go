package surecall_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/surecalltest"
)

// The methods of the orders service, as gRPC spells them.
const (
	getMethod    = "/orders.v1.Orders/Get"    // NO_SIDE_EFFECTS
	cancelMethod = "/orders.v1.Orders/Cancel" // IDEMPOTENT
	placeMethod  = "/orders.v1.Orders/Place"  // neither
	watchMethod  = "/orders.v1.Orders/Watch"
)

// bubble runs test on virtual time. A goroutine that is left behind fails it.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// advance lets virtual time pass, inside a bubble.
func advance(d time.Duration) { time.Sleep(d) }

// log keeps the events of a client.
type log struct {
	mu     sync.Mutex
	events []event.Event
}

func (l *log) option() surecall.LiveOption {
	return surecall.WithEvents(func(e event.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events = append(l.events, e)
	})
}

// eventsOf returns the events of one type, in order.
func eventsOf[E event.Event](l *log) []E {
	l.mu.Lock()
	defer l.mu.Unlock()
	var some []E
	for _, e := range l.events {
		if e, ok := e.(E); ok {
			some = append(some, e)
		}
	}
	return some
}

// denials are the reasons for which retries were denied, in order.
func denials(l *log) []event.Denial {
	var why []event.Denial
	for _, d := range eventsOf[event.RetryDenied](l) {
		why = append(why, d.Why)
	}
	return why
}

// ejections are the IDs of instances that were ejected.
func ejections(l *log) []string {
	var ids []string
	for _, c := range eventsOf[event.InstanceChanged](l) {
		if c.To == event.Ejected {
			ids = append(ids, c.Instance)
		}
	}
	return ids
}

// ready returns a client that is connected to all instances.
func ready(t *testing.T, c *surecalltest.Cluster, opts ...surecall.Option) *surecall.Client {
	t.Helper()
	client := c.Client(opts...)
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return client
}

// unary calls one method of the orders service.
func unary(ctx context.Context, cc grpc.ClientConnInterface, method string, opts ...grpc.CallOption) (*orders.Order, error) {
	client := orders.NewOrdersClient(cc)
	switch method {
	case getMethod:
		return client.Get(ctx, &orders.GetRequest{Id: "1"}, opts...)
	case cancelMethod:
		return client.Cancel(ctx, &orders.CancelRequest{Id: "1"}, opts...)
	default:
		return client.Place(ctx, &orders.PlaceRequest{Item: "tea"}, opts...)
	}
}

// get calls Get and fails the test if that fails.
func get(t *testing.T, cc grpc.ClientConnInterface) *orders.Order {
	t.Helper()
	order, err := unary(t.Context(), cc, getMethod)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

// holdAll has every call wait in its handler until release: the servers live, and answer
// probes.
func holdAll(c *surecalltest.Cluster) (release func()) {
	held := make(chan struct{})
	for _, i := range c.Instances() {
		i.FailFunc(func(string, int64) error {
			<-held
			return nil
		})
	}
	return sync.OnceFunc(func() { close(held) })
}

// failFirst makes the first n calls that reach the cluster end with code.
func failFirst(c *surecalltest.Cluster, n int64, code codes.Code) {
	var calls atomic.Int64
	for _, i := range c.Instances() {
		i.FailFunc(func(string, int64) error {
			if calls.Add(1) <= n {
				return status.Error(code, "told to fail")
			}
			return nil
		})
	}
}

// reached is how many calls have reached each instance.
func reached(c *surecalltest.Cluster) []int {
	var calls []int
	for _, i := range c.Instances() {
		calls = append(calls, i.Calls())
	}
	return calls
}

func sum(ns []int) int {
	total := 0
	for _, n := range ns {
		total += n
	}
	return total
}

// result is how one call of a load ended.
type result struct {
	began time.Time
	took  time.Duration
	err   error
}

// load calls method every interval, whether or not earlier calls have ended, for as
// long as d. It returns when all have ended, in the order in which they began.
func load(t *testing.T, cc grpc.ClientConnInterface, method string, every, d time.Duration) []result {
	t.Helper()
	results := make([]result, d/every)
	var calls sync.WaitGroup
	for n := range results {
		calls.Go(func() {
			began := time.Now()
			_, err := unary(t.Context(), cc, method)
			results[n] = result{began, time.Since(began), err}
		})
		time.Sleep(every)
	}
	calls.Wait()
	return results
}

// wantAll fails the test for each result that is an error or took longer than most.
func wantAll(t *testing.T, results []result, most time.Duration) {
	t.Helper()
	failed, slow := 0, 0
	var example result
	for _, r := range results {
		switch {
		case r.err != nil:
			failed, example = failed+1, r
		case r.took > most:
			slow, example = slow+1, r
		}
	}
	if failed+slow > 0 {
		t.Errorf("of %d calls, %d failed and %d took more than %v, for example %v: %v",
			len(results), failed, slow, most, example.took, example.err)
	}
}

// markLifecycle makes a registration one of surecall's own servers.
func markLifecycle(i *discovery.Instance) {
	i.Meta = map[string]string{discovery.MetaLifecycle: "1"}
}

// belowRetry is the context of a handler of a retried attempt.
func belowRetry(ctx context.Context) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("surecall-attempt", "2"))
}

// applyAtOnce believes that all instances may vanish.
var applyAtOnce = resolver.ApplyAtOnce()
