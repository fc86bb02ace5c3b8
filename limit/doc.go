// Package limit holds calls back where letting all of them through would help none: by
// how many are in flight ([Limiter]), by how many begin per second ([RateLimiter]), and
// by how many the service refuses ([Throttler]). It knows nothing of gRPC.
//
//	what goes wrong                         what stops it
//	a slow service fills its caller         Concurrency.Limit: at most so many in flight
//	a service has too little capacity       Concurrency.Adaptive: as many as it can work on
//	a burst that would be over soon         Concurrency.Queue: some wait, in a sensible order
//	a quota, a service to be spared         Rate: at most so many begin per second
//	a service refuses most calls            Throttle: most are not even sent
//
// # Priorities
//
// When not all can pass, sheddable calls go first, then normal ones, then critical ones.
// Each priority may fill a part of a limit or a bucket:
//
//	             in flight, of a limit L  bucket keeps, of a burst B     throttle's K
//	sheddable    L − ⌊L/5⌋ (80 %)         ⌊B/2⌋, and it never waits      1 + (K−1)/2
//	normal       L − ⌊L/20⌋ (95 %)        ⌊B/20⌋                         K
//	critical     L                        nothing                        1 + 2(K−1)
//
// With Rate.Wait a bucket keeps nothing from normal calls, which wait for half of MaxWait
// at most; critical ones wait for all of it. Turns come in the order in which calls came;
// of one that gives up, those behind it move up.
//
// The fifth is what Stripe keeps for critical requests ("Scaling your API with rate
// limiters", 2017); the twentieth, which is nothing in limits below 20, is ours. So an
// idle limit or a full bucket, however small, admits any call.
//
// # The queue
//
// With a [Queue], a call that finds no room waits for a slot, which is handed to it
// directly by who gives it back. The order is that of Facebook's adaptive LIFO with CoDel
// (Maurer, "Fail at Scale", ACM Queue 2015), within each priority:
//
//	                        calm                  overload: not empty for Interval
//	next to be served       oldest                newest
//	longest wait            Interval, 100 ms      Target, 5 ms, for who comes then
//	gives way when full     newest, or who comes  oldest
//
// The more important are served first, and one of the least important gives way: whoever
// would be served last. Who waits leaves with its context, with [ErrShed] at the longest
// wait, and with [ErrNoTime] at Deadline − Need. One that would come to that even if the
// queue were to drain twice as fast as it has since it was last empty is refused at once;
// that is judged when four were served since then, and in calm.
//
// # The adaptive limit
//
// It is a gradient on the median latency (Envoy's adaptive concurrency). After each
// window of at least 100 ms, two round trips, and 10 to 50 ends,
//
//	limit ← limit · max(½, gradient) + √limit
//	gradient = min(1, (1 + Tolerance) · base / median)
//
// where base is the median latency without load. If more than a tenth ended with
// [Overload], it is limit · min(0.9, gradient) instead. It does not grow while less than
// half of it is in flight. At a service with C workers it settles at (1 + Tolerance)·C +
// √limit, all workers busy; at one that refuses what it cannot work on, at C.
//
// All depends on base. A long-term average of latencies, as in Netflix's Gradient2, takes
// in the overload it should show, and the limit drifts to its maximum. Here base is
// measured: while the limit holds calls back, once in each Interval it dips to one half
// for a twentieth of the Interval or at least two round trips, and what ends in the later
// part of the dip gives the new base (as BBR's ProbeRTT does; Envoy goes down to 3). A
// limit that is α times too high dips to α/2, so that base is at most max(1, α/2) times
// too long, and the next limit (1 + Tolerance)·α/2 times too high, and √limit: it shrinks
// to 5/8 each Interval, whatever the load. Dips begin at multiples of the Interval since
// 1970. So the clients of a service dip together, as far as their clocks agree, and what
// holds for one limit holds for their sum. While the limit holds nobody back and at most half of it is in flight, base
// follows the median without dips. At a service with a base above a sixteenth of the
// Interval, dips come at each second, fourth… Interval.
//
// If the limit lost half since the last dip and the median did not fall nearly as
// much, the service has become slower for another reason: then one more dip is made, at
// the next tenth of the Interval, which at most doubles base, so that the limit comes
// back within seconds.
//
// What it costs: a dip sheds calls if more than half of the limit is in flight. What it
// cannot do: tell a method that takes 1 ms from one that takes 1 s. Where methods differ
// like that, give each a limiter. Clients whose fair share is less than about four
// attempts in flight keep that many.
//
// Actual behaviour, in the simulation of this package's tests: 100 workers, 50 ms, for
// minutes on end, each 10 s of them; service time constant, exponential or heavy-tailed.
//
//	load                      limit     goodput      mean latency
//	half of the capacity      130…175   all calls    50 ms
//	just the capacity         110…400   94…100 %     54…76 ms
//	3 × the capacity          115…160   97…100 %     54…72 ms
//	3 ×, by three clients     120…250   98…100 %     62…91 ms, the limits' sum
//	3 ×, by ten clients       170…770   99…100 %     81…222 ms, the limits' sum
//	3 ×, without a limit      –         –            grows by 2 s in 3 s
//
// # The throttle
//
// A call is held back with probability
//
//	min(MaxRejected, max(0, (requests − K·accepts) / (requests + 1)))
//
// (Google, "Site Reliability Engineering", ch. 21), with what ended or was held back in
// the last Window. A call is counted when it ends, not when it begins as in the book, so
// that slow calls do not look like refused ones. A service that accepts nothing gets a
// tenth of the calls; one that is back gets all of them again after about 6 s.
//
// # Defaults
//
//	Concurrency.Limit   its owner's, else 1024   Envoy, gRPC's xDS
//	Adaptive.Min        1                        failsafe-go
//	Adaptive.Max        1000                     Netflix's Vegas, Envoy
//	Adaptive.Initial    20                       Netflix, failsafe-go
//	Adaptive.Tolerance  0.25                     Envoy's buffer
//	Adaptive.Interval   10 s                     BBR
//	Queue.MaxWaiting    0: no queue
//	Queue.Interval      100 ms                   CoDel, Facebook
//	Queue.Target        5 ms                     CoDel, Facebook
//	Rate.Burst          those of one second      Guava
//	Rate.MaxWait        1 s, if Wait is set
//	Throttle.K          2                        Google
//	Throttle.Window     3 s                      Kratos (Google: 2 min)
//	Throttle.MinRequests 20                      Kratos
//	Throttle.MaxRejected 0.9                     failsafe-go
//
// # What it costs
//
// A [Limiter] with room takes no lock and allocates nothing; a full one without a queue
// takes one and allocates nothing. A [Throttler] takes no lock. A [RateLimiter] takes
// one: golang.org/x/time/rate has a lock of its own in any case, and ours around it keeps
// clock readings that arrive out of order from being paid for twice.
//
// The package starts no goroutine but those of its timers, which run only while a call
// waits.
package limit
