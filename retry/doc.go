// Package retry holds what decides whether an attempt is followed by another: how
// many ([Policy]), how long apart ([Policy.Delay], [Pushback]), how many of all calls
// ([Budget]), and for which methods ([LookupIdempotency]); and when one is sent beside
// another ([Hedge]).
//
// The order in which they are asked is the caller's:
//
//	attempt failed                  reply that is Unwanted
//	      │                                   │
//	      ▼                                   ▼
//	never executed? ──no──▶ idempotent, and its code in Codes? ──no──▶ over
//	      │ yes                       │ yes
//	      ▼                           ▼
//	attempts left? ─▶ no "stop" from the server? ─▶ time left? ─▶ budget? ──no──▶ over
//	                                                                │ yes
//	                                                                ▼
//	                                       wait: pushback, or nothing the first time,
//	                                       or Delay; then another instance
//
// An unwanted reply has no code: it takes an idempotent method only. Whatever ends the
// call, the caller then gets that reply unless a better one has come.
//
// A pushback is what a server says about when to come again: the trailer
// grpc-retry-pushback-ms, of which a negative value means "stop", or the RetryInfo among
// the details of its error, which never does. The trailer wins.
//
// # Defaults
//
//	field                     default      source
//	Policy.MaxAttempts        3            resilience4j; as many as Kitex and failsafe-go
//	Policy.BaseDelay          25 ms        Envoy, Linkerd
//	Policy.MaxDelay           1 s          gRFC A6's example
//	Policy.Multiplier         2            gRFC A6, Envoy
//	Policy.Codes              UNAVAILABLE  gRFC A6: the one code that means "try again"
//	Policy.Unwanted           none         every reply is wanted
//	Hedge.Delay               p95, ≥ 1 ms  Dean and Barroso, "The Tail at Scale"
//	BudgetPolicy.Ratio        0.2          Finagle, Linkerd: retries add a fifth at most
//	BudgetPolicy.PerSecond    10           Finagle, Linkerd: so that rare calls are retried
//	BudgetPolicy.MinCapacity  10           one second of PerSecond
//
// # Hedging
//
// A hedge is a second attempt beside a call's first, on another instance, when that has
// taken Delay: by default the method's own 95th percentile of the last 20 s, so that about
// one call in twenty is sent twice, and none before 20 answers are known. The first answer
// counts. Only idempotent methods are hedged, a hedge counts among MaxAttempts, and the
// budget pays for it as for a retry: when nothing is left in it, none is sent.
//
// # The budget
//
// A budget is a token bucket that one client shares among its retries and hedges.
// Every call puts Ratio of a token in, time puts PerSecond in, and a retry or a hedge takes
// one out. It holds at most what came in during the last second, so that a quiet night
// does not save up for a storm:
//
//	capacity = max(MinCapacity, PerSecond×1 s + Ratio×calls of the last second)
//
// In any stretch of time, then, there are at most
//
//	capacity at its beginning + PerSecond×length + Ratio×calls in it
//
// retries and hedges: with the defaults and 1,000 calls per second, about 210 per second,
// whatever fails.
//
// The package starts no goroutine and reads no clock.
package retry
