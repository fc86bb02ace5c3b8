// Package balancer spreads the calls of one client over the instances of a service. It
// is a gRPC load balancing policy; most programs meet only [Policy], and [Status] in
// what a client tells of its instances.
//
// # The model
//
// All that is known of an instance (its breaker, calls in flight, latency, slow start)
// is in the client's [Fleet], kept by the instance's ID, address and incarnation. It
// outlives updates of the source, reconnects, idleness and the policy itself, and stays
// for 10 minutes after the instance left. Another process, which is another
// incarnation, inherits nothing. A picker is an immutable list of pointers into that
// state, built anew only when connections, members or weights change; what changes with
// every call is atomic. A pick takes no lock, but to hand out a trial; an attempt
// allocates once, for its end.
//
//	           connection, and its first         5 failures in a row, …;
//	           word of health                    a probe not answered
//	connecting ──────────────────────▶ eligible ────────────────────────▶ ejected
//	    ▲                             ▲  ▲  ▲ ▲                              │
//	    │ 1 s without any:            │  │  │ └──────────────────────────────┘
//	    │ rejections                  │  │  │   trial succeeded, or probe answered;
//	    └─────────────────────────────┘  │  │   slow start
//	     connection lost or refused      │  └─────────────▶ suspect ──▶ ejected
//	                                     ▼                    calls wait on it in vain
//	                         not serving, draining
//	                          its health service, or an answer, says so
//
// # The choice
//
// [LeastLoaded] samples two instances, each with a probability in proportion to its
// weight, and takes the first unless the load of the second is lower by 30 %; then the
// second, but for a chance of the square of the ratio of their loads:
//
//	load = (in flight ÷ (weight ÷ mean weight) + 1) × latency
//
// The latency is a moving average that rises with a slow answer at once (at most to
// twice), sinks with the quick ones that follow, fades to the median of the fleet in
// 10 s without any, counts a failure as ten medians, and is at least as long as calls
// have been waiting. What is below twice the fleet's median counts as equally fast. So a
// slow instance gets few calls and is never starved, one that fails at once looks slow
// and not fast, and noise orders nobody.
// With no more calls in flight than instances, an instance that is light beside heavy
// ones is idle most of the time and gets up to twice its share.
//
// [RoundRobin] takes instances in turn, by weight, whatever their load.
//
// # Who is picked
//
// The first of these that has somebody, among those with a connection and room:
//
//  1. an ejected instance that is due for its trial (unary calls that can be retried;
//     after 10 s any unary call)
//  2. eligible, of the active priority, and not tried by this call
//  3. eligible, of another priority, and not tried
//  4. eligible, of the active priority; then of another
//  5. eligible, but asked not to be called for a while; those not tried first
//  6. ejected for its failures
//  7. suspect, or ejected because it hangs
//  8. says NOT_SERVING
//  9. said that it is leaving
//  10. ejected by hand
//
// From 6 to 9, those that this call has tried come after those it has not, and nobody is
// called while an eligible instance is only at its limit; nor is one that was ejected by
// hand while any other has a connection, at its limit or not. With no connection at all a call
// is refused, after waiting a second for one that was lost; a call that waits for ready
// waits on. Breakers eject at most half of the connected instances. Where losses of others
// leave more ejected than that, the longest ejected get their trials at once.
//
// # Limits
//
// With [Config].Concurrency each instance has a limit to its unary attempts in flight,
// fixed or adaptive, and with Config.Streams one to its streams. A full instance is passed
// over, as one that is not eligible, also for trials, pins and keys. A call for which only
// full ones are left is refused at once, one that waits for ready too: the client's own
// queue, outside, is the place to wait. The last fifth of a limit is not for sheddable
// calls, as package limit says. Two callers never get the last slot: it is taken in one
// atomic step, and who comes too late chooses again.
//
// # Yielding
//
// An instance that refuses an attempt with RESOURCE_EXHAUSTED, or with a pushback, has too
// much to do ([Fleet.Yield]). That is no failure: its breaker hears nothing of it. Its
// share of the calls is halved, at most once in 100 ms, and comes back in a straight line,
// from nothing to all within 10 s:
//
//	share ← max(0.05, share ÷ 2)    share + 0.1 per second, up to 1
//
// which is how TCP shares a link (additive increase, multiplicative decrease; Chiu and
// Jain, 1989): many clients settle on what the instance can serve without knowing of each
// other. While a pushback lasts, 30 s at most, it gets none at all, if there is anybody
// else who is eligible. What others get is chosen by weight and load as before. When all
// yield, or all rest, they serve by weight and load too, in proportion to their shares.
//
// # Where the caller wants it to go
//
// [Route].Instance names the only instance that may serve a call, eligible or not, and for
// retries too. A key (Route.Key) stands for one instance of the active priority, by weight
// and the same in all clients. An instance that joins or leaves takes or gives only keys
// of its own. While the key's instance is not eligible, rests, is full or was tried, the
// next in the key's own order serves, so that its keys spread over all others. Those that
// start slowly or yield keep their keys.
//
// To find a key's instance takes about 0.5 µs among 10 instances, 1 µs among 1,000 and 2 µs
// among 10,000; with weights from 1 to 1,000, which is ten powers of two, 1, 6 and 10 µs.
// As much is added for each that cannot serve, for seven at most. The table behind it, of
// 0.5 kB for each instance, up to 1 kB by weight, is built for the first call with a key, in
// 7 ms for 1,000 instances and 0.1 s for 10,000. When the set of instances has changed, the
// next one is built while calls go by the old one: those who joined get their keys ten times
// that later at most, those who left serve nobody.
//
// # By hand
//
// [Fleet.SetMode] takes an instance out, or has its breaker let everything through, until
// it is set back: for its ID, whatever the process. What was taken out by hand is not
// counted in the share that breakers may eject, neither as out nor as connected.
//
// # Hangs
//
// A process that is stopped, or a network that swallows packets, closes no connection. An
// instance is suspected when unary attempts wait on it and nothing at all has come back
// for as long as their methods' patience: 4 times the 99th percentile and at least 50 ms,
// 1 s while that is not known. It is passed over and probed over the same connection (a
// health check, which any answer satisfies, UNIMPLEMENTED too). Not answered within
// 100 ms it is ejected, and idempotent attempts that wait on it are cut off and made
// elsewhere. Probes go on, 0.05 to 2 s apart, until one is answered. After 5 s the
// connection is closed and dialled anew (streams on it end with UNAVAILABLE), unless a
// unary call still waits on it, which is left to its deadline.
//
// When half of the connected instances are out already, it is likelier that all are short
// of time: the next one serves until it has left a probe of 500 ms unanswered. And when
// it is this process that stood still, which its own timers tell, nobody is judged, and
// the time does not count for a probe.
//
// Idle instances are not probed unless [Health].Probe is set.
//
// # Leaving
//
// Of what an instance says of itself, two things take it out at once: NOT_SERVING, which
// its health service pushes over the connection (the Watch of grpc.health.v1); and the
// mark in the trailer of any answer of a server of package lifecycle. No other end of a
// Watch counts: a server without health service, or with one that wants a password, is
// taken as good. A new connection is used from the first word of health on, or after
// 250 ms without. The mark ends after 30 s, with an answer that does not have it, when
// the health goes from NOT_SERVING to anything else, and with a new connection over which
// the instance serves. Calls in flight on an instance that leaves always finish.
//
// # Priorities
//
// Instances of priority 0 get all calls while one of them is eligible. Those of the next
// priority are connected when fewer than half of the better one are eligible, and
// disconnected when that has been over for 5 minutes. Calls go to them when none of the
// better one is eligible, before any last resort of it, and back when it has had an
// eligible instance for 10 s without a break. One that is only suspected counts as eligible
// here, one that is overruled does not for 30 s after its last failure.
//
// # Slow start
//
// An instance that joins a fleet which serves, is back from an ejection, or was without
// a connection for more than 10 s begins with a tenth of its share, which rises in a
// straight line over 30 s. A mere reconnect is no such thing. When all are new, or come
// back together from an outage of all, none starts slowly. A client that starts waits
// for half of its connections, or for 100 ms after the first, so that the first
// connection does not get all the load.
//
//	what                      default       source
//	Policy.Choice             LeastLoaded   two choices: Linkerd, Finagle
//	Policy.SlowStart          30 s          Envoy's slow_start_window
//	Policy.SlowStartFrom      0.1           Envoy's min_weight_percent
//	latency forgets in        10 s          Finagle's and Linkerd's peak EWMA
//	band of a better load     0.7           simulated: choice.go
//	suspect after             4 × p99, at least 50 ms
//	probe                     100 ms        –
//	close the connection      5 s           of unanswered probes
//	mark of leaving           30 s          –
//	back to a better priority 10 s          –
//	limits of instances       none          Config.Concurrency, Config.Streams
//	an instance that yields   × 0.5         at most each 100 ms, not below 0.05 (TCP)
//	… and comes back          + 0.1 per s   to 1
//	pushback that counts      30 s          at most
//	dials at a time           100           –
//	pickers                   each 10 ms    above 100 instances; below at once
//	state after leaving       10 min        –
//
// It does not choose by zone or take a subset of a large service: every client connects to
// every instance.
package balancer
