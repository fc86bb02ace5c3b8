package surecall

import (
	"time"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// PolicyDocument is what a policy document says: JSON that steers running clients, from a
// file or Consul's KV store. Its zero value, and the document {}, say nothing.
//
//	{
//	  "deadline": "2s",
//	  "breaker": {"consecutive_failures": 3},
//	  "methods": {
//	    "/orders.v1.Orders/Get*": {"idempotent": true, "hedge": {"delay": "50ms"}},
//	    "/orders.v1.Orders/Place": {"retry": false}
//	  }
//	}
//
// Each key does what the option does that is named with its field, and has the fields of
// that option's policy, in lower case with underscores; one that is left out has its
// documented default. Durations are strings ("250ms"), codes are names ("UNAVAILABLE"), and
// false switches off what can be. Functions, and what a client is made with, cannot be
// said: only what [Client.Update] takes. docs/policy.schema.json is the schema, for editors.
//
// # Precedence
//
// What is in force is what code says (the options of [NewClient] and [Client.Update]), then
// the owner's document over it, then the caller's: see [WithOwnerPolicy] and
// [WithCallerPolicy]. Within one of these three the most specific pattern wins. Between
// them the later one does: what it says of a pattern, or of all methods, also holds where
// an earlier one was more specific. It says the whole policy: nothing is left of an earlier
// one's, its functions neither. Concurrency and rate alone add up, the client's limit and
// that of a pattern. Documents that contradict each other have no precedence: the one that is
// in force stands, and the other is refused until they agree.
//
// # What a document can do
//
// It changes how calls to its service are made: their deadlines, what is repeated, what is
// held back. Its owner decides those calls' answers anyway. It cannot change where
// instances are found, credentials, which code is called, or what calls to other services
// do. Of the caller's resources it can use memory ("cache_bytes", "notifications" and, of
// each stream, "replay_buffer", each at most 1 GiB) and attempts (at most 10 for a call).
// Who does not want that for himself gives the owner's document no option, or overrules it
// in his own.
//
// # What is refused
//
// A document of more than 256 KiB or 1,000 patterns, nested deeper than 16, not UTF-8, with
// an unknown key, a key twice, null, a number that is negative or above 2^30, a duration
// above 720h, or a policy that the option would refuse; and, where it is applied, policies
// that contradict each other. See [ParsePolicy].
type PolicyDocument struct {
	// Schema is where an editor finds the schema; nothing else reads it.
	Schema string `json:"$schema"`
	// Version is the version of this grammar: 1, which is also the default.
	Version int
	// Comment is for people, and may say anything.
	Comment string

	// Disable names protections that are off, beside those that code, the environment or
	// another document switch off: see WithDisabled.
	Disable []Protection
	// Shadow has everything computed and nothing acted on, as plain gRPC with round_robin.
	// Default: what code says. See WithShadow.
	Shadow *bool

	// Breaker ejects an instance that fails. Off: none is ejected for its failures. See
	// WithBreaker.
	Breaker Setting[breaker.Policy]
	// ServiceBreaker rejects calls while nothing of the service answers. See
	// WithServiceBreaker.
	ServiceBreaker Setting[breaker.ServicePolicy]
	// Balancer is how calls are spread over instances. See WithBalancer.
	Balancer *balancer.Policy
	// RetryBudget bounds the retries and hedges of all calls together. See WithRetryBudget.
	RetryBudget *retry.BudgetPolicy
	// InstanceConcurrency bounds the unary attempts on each instance. Default off. See
	// WithInstanceConcurrency.
	InstanceConcurrency Setting[limit.Concurrency]
	// InstanceStreamConcurrency bounds the streams on each instance. Default off. See
	// WithInstanceStreamConcurrency.
	InstanceStreamConcurrency Setting[limit.Concurrency]
	// StreamConcurrency bounds the streams of the client. Default off. See
	// WithStreamConcurrency.
	StreamConcurrency Setting[limit.Concurrency]
	// Notifications bounds what one-way notifications hold on to. See WithNotifications.
	Notifications *NotifyPolicy
	// CacheBytes bounds what the caches of all methods keep together. Default 16 MiB. See
	// WithCacheBytes.
	CacheBytes *int

	// MethodPolicies, whose keys stand beside those above, hold for all methods.
	MethodPolicies
	// Methods hold for those of a pattern as ForMethod takes it.
	Methods map[string]MethodPolicies
}

// MethodPolicies is what a [PolicyDocument] says of methods.
type MethodPolicies struct {
	// Deadline bounds a call, all its attempts together, if its caller set no deadline.
	// Streams have one only below a pattern; one for all methods leaves it. Default "5s". See
	// WithCallDeadline.
	Deadline Setting[time.Duration]
	// AttemptTimeout bounds an attempt of an idempotent method. It is learned by default.
	// See WithAttemptTimeout.
	AttemptTimeout Setting[AttemptTimeout]
	// Retry is how failed attempts are repeated. Off: each call is one attempt. See
	// WithRetry.
	Retry Setting[retry.Policy]
	// Hedge sends a second attempt of an idempotent method beside one that takes long.
	// Default off. See WithHedge.
	Hedge Setting[retry.Hedge]
	// Idempotent says whether methods may be executed twice with the effect of once.
	// Default: what the proto file says. See AsIdempotent.
	Idempotent *bool
	// CallID sends an ID along that is the same in all attempts of a call, so that servers
	// can drop repeats. Default false. See WithCallID.
	CallID *bool
	// Concurrency bounds the unary attempts under way: the client's, or those of a pattern
	// together. See WithConcurrency.
	Concurrency Setting[limit.Concurrency]
	// Rate bounds how many calls begin per second: the client's, or those of a pattern
	// together. Default off. See WithRateLimit.
	Rate Setting[limit.Rate]
	// Throttle holds back, of each method, what the service would refuse. Default off. See
	// WithThrottle.
	Throttle Setting[limit.Throttle]
	// MethodBreaker rejects the calls of a method of which too many fail. Default off. See
	// WithMethodBreaker.
	MethodBreaker Setting[breaker.MethodPolicy]
	// ReplayBuffer is how many bytes of each stream are kept to be sent again. Default
	// 262144. See WithReplayBuffer.
	ReplayBuffer Setting[int]
	// Cache keeps the answers of methods without side effects. Default off. See WithCache.
	Cache Setting[CachePolicy]
	// FallbackReserve is how long alternate and fallback have of a caller's deadline.
	// Default "0s". See WithFallbackReserve.
	FallbackReserve *time.Duration
}

// Setting is what a document says of one policy. The zero value says nothing.
type Setting[P any] struct {
	Off   bool // it is switched off; false in JSON
	Value *P   // else what it is
}

// Set says that a policy is p.
func Set[P any](p P) Setting[P] { return Setting[P]{Value: &p} }

// Off says that a policy is switched off.
func Off[P any]() Setting[P] { return Setting[P]{Off: true} }
