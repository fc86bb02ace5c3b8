// Package breaker keeps callers away from what fails: one instance ([Instance]), a
// whole service ([Service]), or a method that fails wherever it is called ([Blame]).
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
//
// # Blame
//
// A method whose handler is broken fails on every instance, and would eject them one by
// one for all other methods too. [Blame] sees that most instances fail it alike; such a
// failure is then not held against the instance, by its caller, who records
// [Ignored] in its place.
//
// # What the package does not do
//
// It starts no goroutine and no timer, counts no rejections, and knows nothing of
// connections, health or draining: those are marks of their own, kept by the balancer.
package breaker
