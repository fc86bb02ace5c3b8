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
//	           connection                    5 failures in a row, …
//	connecting ──────────▶ eligible ◀────────────────────────────────▶ ejected
//	    ▲                     │  ▲        trial succeeded, slow start
//	    │ 1 s without         │  │ it answers
//	    │ any: rejections     │  └──────────────── suspect
//	    └─────────────────────┘                       ▲
//	       connection lost or refused       calls wait on it in vain
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
// The first of these that has somebody, among those with a connection:
//
//  1. an ejected instance that is due for its trial (unary calls that can be retried;
//     after 10 s any unary call); a suspect that is due for another look
//  2. eligible, and not tried by this call
//  3. eligible
//  4. ejected, and not tried by this call
//  5. suspect, and not tried by this call
//  6. anybody
//
// Only with no connection at all is a call refused, and that after waiting a second for
// one that was lost; a call that waits for ready waits on. Breakers eject at most half
// of the connected instances. Where losses of others leave more ejected than that, the
// longest ejected get their trials at once.
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
//	dials at a time           100           –
//	pickers                   each 10 ms    above 100 instances; below at once
//	state after leaving       10 min        –
//
// It does not choose by zone, hash a key, or take a subset of a large service: every
// client connects to every instance.
package balancer
