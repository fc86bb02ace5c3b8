package breaker

import (
	"errors"
	"fmt"
	"time"
)

// MethodPolicy says when calls of one method are given up, and for how long. The zero
// value is the documented default, and so is each zero field.
type MethodPolicy struct {
	// FailureRatio is the share of failed calls in Window that opens the breaker, in
	// 0…1. Default 0.5 (as for instances).
	FailureRatio float64

	// MinRequests is how many calls Window must hold for a ratio to be judged.
	// Default 20 (as for instances).
	MinRequests int

	// Window is how far back the ratios look; it rolls in ten steps. Default 10s (as
	// for instances).
	Window time.Duration

	// Open is how long the breaker rejects when it opens; each further time lasts
	// twice as long as the one before, up to MaxOpen. A trial that has not ended
	// after Open is lost: another call becomes one. Default 5s (Hystrix).
	Open time.Duration

	// MaxOpen bounds one opening before Jitter. Default 60s (as for instances).
	MaxOpen time.Duration

	// Jitter spreads each opening evenly over ± this share of it, in 0…1. Default 0.2
	// (gRPC's backoff).
	Jitter float64

	// StepBack is how long the breaker must stay closed to undo one doubling of Open.
	// Default 30s (as for instances).
	StepBack time.Duration

	// Trials is how many calls, one after the other, must succeed to close the
	// breaker. Default 3: one that fares well by luck must not let all others in.
	Trials int

	// SlowCall is how long a call must take to count as slow, whatever its end. A
	// trial that is slow has failed. Default 0: none is slow.
	SlowCall time.Duration

	// SlowRatio is the share of slow calls in Window that opens the breaker, in 0…1.
	// It needs SlowCall. Default 0.5 (as FailureRatio).
	SlowRatio float64

	// DryRun makes the breaker decide, count and tell of its changes, and yet let all
	// calls pass. Default false.
	DryRun bool
}

// WithDefaults returns p with every zero field replaced by its default.
func (p MethodPolicy) WithDefaults() MethodPolicy {
	setDefault(&p.FailureRatio, 0.5)
	setDefault(&p.MinRequests, 20)
	setDefault(&p.Window, 10*time.Second)
	setDefault(&p.Open, 5*time.Second)
	setDefault(&p.MaxOpen, 60*time.Second)
	setDefault(&p.Jitter, 0.2)
	setDefault(&p.StepBack, 30*time.Second)
	setDefault(&p.Trials, 3)
	if p.SlowCall != 0 {
		setDefault(&p.SlowRatio, 0.5)
	}
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p MethodPolicy) Validate() error {
	p = p.WithDefaults()
	errs := []error{
		inRange("FailureRatio", p.FailureRatio, 0, 1),
		inRange("MinRequests", p.MinRequests, 1, maxCount),
		inRange("Window", p.Window, minSpan, maxSpan),
		inRange("Open", p.Open, minSpan, maxSpan),
		inRange("MaxOpen", p.MaxOpen, minSpan, maxSpan),
		inRange("Jitter", p.Jitter, 0, 1),
		inRange("StepBack", p.StepBack, minSpan, maxSpan),
		inRange("Trials", p.Trials, 1, maxTrials),
		zeroOrInRange("SlowCall", p.SlowCall, time.Millisecond, maxSpan),
		inRange("SlowRatio", p.SlowRatio, 0, 1),
	}
	if p.MaxOpen < p.Open {
		errs = append(errs, fmt.Errorf("breaker: MaxOpen %v: want at least Open, %v", p.MaxOpen, p.Open))
	}
	if p.SlowRatio != 0 && p.SlowCall == 0 {
		errs = append(errs, fmt.Errorf("breaker: SlowRatio %v: want SlowCall with it: without, no call is slow", p.SlowRatio))
	}
	return errors.Join(errs...)
}
