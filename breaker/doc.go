// Package breaker keeps callers away from what fails: one instance ([Instance]), one
// method, wherever it is called ([Method]), or a whole service ([Service]).
//
// # The instance breaker
//
// The state machine and the rolling window are those of github.com/sony/gobreaker.
// This package adds what an ejection from a fleet needs: a run of failures that no
// window cuts, ejections that grow, a cap on how much of a fleet is ejected at once,
// and a trial that can be lost without harm.
//
//	          5 failures in a row, or                 ejection over: the next
//	          half of at least 20 in 10 s             fitting attempt is the trial
//	┌────────┐ ──────────────────────────▶ ┌──────┐ ──────────────────────────▶ ┌──────────┐
//	│ closed │                             │ open │                             │ half-open│
//	└────────┘                             └──────┘ ◀────────────────────────── └──────────┘
//	  │    ▲ ▲                                        trial failed: twice as long     │ │ ▲
//	  └────┘ │                                        trial ignored: due at once      │ └─┘
//	overruled│                                                                        │ lost: another
//	         └────────────────────────────────────────────────────────────────────────┘ takes over
//	                                   trial succeeded
//
// When the cap ([Hooks].MayEject) says no, a closed breaker that would open is
// overruled instead: it stays closed, shows it, and is judged again at its next
// failure.
//
// An attempt takes the breaker's [Instance.Word] when it is picked and hands it back
// with its [Verdict]. The word holds an epoch that every change of state moves, so
// that the end of an attempt from before a change never moves the machine.
//
//	Policy field         default  source
//	ConsecutiveFailures  5        Finagle's failure accrual, Envoy's consecutive_5xx
//	FailureRatio         0.5      resilience4j, Kitex
//	MinRequests          20       Kratos; Envoy and gRFC A50 want 50
//	Window               10 s     Envoy, gRFC A50, go-zero, Kitex
//	Ejection             5 s      Finagle's first markDeadFor
//	MaxEjection          60 s     Linkerd; Finagle and Envoy wait up to 5 min
//	Jitter               0.2      gRPC's connection backoff
//	StepBack             30 s     gRFC A50 steps back too, each 10 s
//	MaxEjectedRatio      0.5      panic threshold of Envoy and Finagle
//	SlowCall             off      how long is too long is the method's to say
//	DryRun               false
//
// # The method breaker
//
// It has its own job: to stop calling one method that fails on every instance, while the
// rest of the service is well. It judges calls, by what their callers got, and no
// attempts; it costs nothing where there is none. Its states are those above, with these
// differences: it opens by ratios only, of failed and of slow calls; several trials must
// succeed, one after the other; one that is ignored leaves it half-open; and a trial
// that was lost counts all the same if it ends while the breaker is still half-open.
//
//	entry, ok := m.Enter(now)              // one atomic load while closed
//	if !ok { reject, with m.RetryAfter(now) }
//	… all attempts of the call …
//	m.Record(entry, verdict, elapsed, now) // once
//
//	MethodPolicy field  default  source
//	FailureRatio        0.5      as for instances
//	MinRequests         20       as for instances
//	Window              10 s     as for instances
//	Open                5 s      Hystrix
//	MaxOpen             60 s     as for instances
//	Jitter              0.2      as for instances
//	StepBack            30 s     as for instances
//	Trials              3        one that fares well by luck must not let all others in
//	SlowCall            off      how long is too long is the method's to say
//	SlowRatio           0.5      as FailureRatio; needs SlowCall
//	DryRun              false
//
// # The service breaker
//
// It opens when nothing has succeeded for [ServicePolicy].Quiet while attempts kept
// failing, lets one trial through each TrialInterval, and closes at the first
// success. It is fed with attempts only, never with its own rejections.
//
//	ServicePolicy field  default  source
//	Quiet                1 s      longer than a rolling restart's gap, shorter than a caller's patience
//	MinFailures          20       as the instance breaker's MinRequests
//	TrialInterval        50 ms    20 attempts per second find a recovery before a person could
//	DryRun               false
//
// # By hand
//
// SetMode of each of the three takes the decision out of the breaker's hands, or gives it
// back. It is told as other changes are.
//
//	Mode        what it does
//	Automatic   the breaker decides; setting it begins closed, with nothing remembered
//	ForcedOpen  open, with no trials, until another mode is set; no cap is asked
//	Disabled    closed, and nothing is counted
//
// # Dry run
//
// With DryRun a breaker decides, counts and tells of each change, with Change.DryRun set,
// but acts as a closed one: all pass, and no trial is given out. What then takes the
// place of the trials are the verdicts that come once an opening would be over, of what
// passed since it would have begun; until then verdicts are dropped, since in earnest
// there would be none. So an instance is told to be ejected, for 5 s, then 10 s, and to
// be back, with the traffic that it gets. For a service, any success ends the opening, as
// it does in earnest. The times of a dry run differ from those in earnest where the
// traffic kept away would have made the difference. A mode set by hand acts all the same.
//
// # Blame
//
// A method whose handler is broken fails on every instance, and would eject them one by
// one for all other methods too. [Blame] sees that most instances fail it alike; such a
// failure is then not held against the instance, by its caller, who records
// [Ignored] in its place. It needs no method breaker, which would stop the calls
// themselves; and that one is to be told the verdict that Blame has not touched.
//
// # What the package does not do
//
// It starts no goroutine and no timer, counts no rejections, and knows nothing of
// connections, health or draining: those are marks of their own, kept by the balancer.
package breaker
