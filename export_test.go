package surecall

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// PolicyCost is one policy, or the absence of all, and the most allocations that it may add
// to a call of the bare client, for as long as it has not to act.
type PolicyCost struct {
	Name    string
	Options []LiveOption
	Most    float64
}

// Policies are the policies, each by itself.
func Policies() []PolicyCost {
	return []PolicyCost{
		{"none", nil, 0},
		{"each switched off", []LiveOption{
			WithoutHedge(), WithoutThrottle(), WithoutMethodBreaker(), WithoutRateLimit(), WithoutInstanceConcurrency(),
			WithoutStreamConcurrency(), WithoutCallID(), WithoutFallback(), WithoutCache(), WithoutAlternate(), WithoutReplayBuffer(),
		}, 0},
		{"concurrency", []LiveOption{WithConcurrency(plenty)}, 0},
		{"adaptive concurrency", []LiveOption{WithConcurrency(adaptive)}, 0},
		{"concurrency of a pattern", []LiveOption{ForMethod(allOrders, WithConcurrency(plenty))}, 0},
		{"concurrency of instances", []LiveOption{WithInstanceConcurrency(plenty)}, 0},
		{"concurrency with a queue", []LiveOption{WithConcurrency(queued)}, 0},
		{"concurrency of streams", []LiveOption{WithStreamConcurrency(plenty), WithInstanceStreamConcurrency(plenty)}, 0},
		{"rate limit", []LiveOption{WithRateLimit(fast)}, 0},
		{"throttle", []LiveOption{WithThrottle(limit.Throttle{})}, 0},
		{"method breaker", []LiveOption{WithMethodBreaker(breaker.MethodPolicy{})}, 0},
		{"hedge not fired", []LiveOption{WithHedge(seldom)}, 2},
		{"fallback not needed", []LiveOption{ForMethod(orders.Orders_Get_FullMethodName, WithFallback(noFallback))}, 0},
		{"alternate not needed", []LiveOption{WithAlternate(nowhere{})}, 0},
		{"fallback with a reserve", []LiveOption{ForMethod(orders.Orders_Get_FullMethodName, WithFallback(noFallback), WithFallbackReserve(time.Second))}, 8},
		{"cache, an instance is asked", []LiveOption{WithCache(CachePolicy{})}, 6},
		{"call ID and what the server makes of it", []LiveOption{WithCallID()}, 11},
	}
}

// AllPolicies is every policy at once, with a call deadline for who has none. Left out are the throttle, which excludes the method breaker, and what makes
// something for each call: see [AndSecondBest] and [AndCallID].
func AllPolicies() []LiveOption {
	return []LiveOption{
		WithCallDeadline(10 * time.Second), WithConcurrency(adaptive), WithInstanceConcurrency(plenty),
		WithStreamConcurrency(plenty), WithInstanceStreamConcurrency(plenty),
		WithRateLimit(fast), WithMethodBreaker(breaker.MethodPolicy{}), WithHedge(seldom), WithAlternate(nowhere{}),
		ForMethod(allOrders, WithConcurrency(queued), WithRateLimit(fast)),
		ForMethod(orders.Orders_Get_FullMethodName, WithFallback(noFallback)),
	}
}

// AndSecondBest comes on top of all others: a reserve, which is a context of its own, and
// a cache that has each answer kept.
func AndSecondBest() []LiveOption {
	return append(AllPolicies(), ForMethod(orders.Orders_Get_FullMethodName, WithFallbackReserve(time.Second), WithCache(CachePolicy{})))
}

// AndCallID comes on top of those: an ID is made, sent and read, for methods that need one.
func AndCallID() []LiveOption { return append(AndSecondBest(), WithCallID()) }

// So high that nothing is ever held back.
var (
	plenty   = limit.Concurrency{Limit: 100_000}
	queued   = limit.Concurrency{Limit: 100_000, Queue: limit.Queue{MaxWaiting: 100}}
	adaptive = limit.Concurrency{Adaptive: limit.Adaptive{On: true, Min: 1000, Max: 100_000}}
	fast     = limit.Rate{PerSecond: 1e9}
	seldom   = retry.Hedge{Delay: 4 * time.Second}
)

const allOrders = "/orders.v1.Orders/*"

func noFallback(_ context.Context, _ *orders.GetRequest, cause error) (*orders.Order, error) {
	return nil, cause
}

// OptionsOf returns how many options about methods the client holds.
func OptionsOf(c *Client) (n int) {
	for _, r := range c.core.state.Load().settings.rules {
		n += len(r.opts)
	}
	return n
}

// HasSecondBest reports whether the client has anything that answers the method's calls when
// its instances do not.
func HasSecondBest(c *Client, method string) bool {
	return c.core.state.Load().methods.find(method).second != nil
}

// nowhere is an alternate that is not needed.
type nowhere struct{ grpc.ClientConnInterface }

// CodeName is how a status spells the code of err.
func CodeName(err error) string { return codeName(codeOf(err)) }
