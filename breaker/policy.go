package breaker

import (
	"errors"
	"fmt"
	"time"
)

// Policy says when an instance is ejected and for how long. The zero value is the
// documented default, and so is each zero field.
type Policy struct {
	// ConsecutiveFailures is the run of failures that ejects. RatioFailure neither
	// lengthens nor ends a run. Default 5 (Finagle, Envoy).
	ConsecutiveFailures int

	// FailureRatio is the share of failures in Window, RatioFailure included, that
	// ejects, in 0…1. Default 0.5 (resilience4j, Kitex).
	FailureRatio float64

	// MinRequests is how many attempts Window must hold for FailureRatio to be
	// judged. Default 20 (Kratos).
	MinRequests int

	// Window is how far back FailureRatio looks; it rolls in ten steps. Default 10s
	// (Envoy, gRFC A50).
	Window time.Duration

	// Ejection is how long the first ejection lasts; each further one lasts twice as
	// long as the one before, up to MaxEjection. Default 5s (Finagle).
	Ejection time.Duration

	// MaxEjection bounds an ejection before Jitter. Default 60s (Linkerd).
	MaxEjection time.Duration

	// Jitter spreads each ejection evenly over ± this share of it, in 0…1, so that
	// clients do not try an instance together. Default 0.2 (gRPC's backoff).
	Jitter float64

	// StepBack is how long the breaker must stay closed to undo one doubling of
	// Ejection. Default 30s (gRFC A50 steps back as well).
	StepBack time.Duration

	// MaxEjectedRatio is the most of the connected instances that may be ejected, in
	// 0…1. The breaker of one instance cannot know: its owner reads this and answers
	// in Hooks.MayEject. Default 0.5 (Envoy, Finagle).
	MaxEjectedRatio float64

	// SlowCall is how long a success must have taken to count as RatioFailure instead.
	// A breaker knows no times: its owner asks [Policy.Judge]. Default 0: never.
	SlowCall time.Duration

	// DryRun makes the breaker decide, count and tell of its changes, and yet eject
	// nobody. Default false.
	DryRun bool
}

// WithDefaults returns p with every zero field replaced by its default.
func (p Policy) WithDefaults() Policy {
	setDefault(&p.ConsecutiveFailures, 5)
	setDefault(&p.FailureRatio, 0.5)
	setDefault(&p.MinRequests, 20)
	setDefault(&p.Window, 10*time.Second)
	setDefault(&p.Ejection, 5*time.Second)
	setDefault(&p.MaxEjection, 60*time.Second)
	setDefault(&p.Jitter, 0.2)
	setDefault(&p.StepBack, 30*time.Second)
	setDefault(&p.MaxEjectedRatio, 0.5)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	errs := []error{
		inRange("ConsecutiveFailures", p.ConsecutiveFailures, 1, maxCount),
		inRange("FailureRatio", p.FailureRatio, 0, 1),
		inRange("MinRequests", p.MinRequests, 1, maxCount),
		inRange("Window", p.Window, minSpan, maxSpan),
		inRange("Ejection", p.Ejection, minSpan, maxSpan),
		inRange("MaxEjection", p.MaxEjection, minSpan, maxSpan),
		inRange("Jitter", p.Jitter, 0, 1),
		inRange("StepBack", p.StepBack, minSpan, maxSpan),
		inRange("MaxEjectedRatio", p.MaxEjectedRatio, 0, 1),
		zeroOrInRange("SlowCall", p.SlowCall, time.Millisecond, maxSpan),
	}
	if p.MaxEjection < p.Ejection {
		errs = append(errs, fmt.Errorf("breaker: MaxEjection %v: want at least Ejection, %v", p.MaxEjection, p.Ejection))
	}
	return errors.Join(errs...)
}

// Judge returns the verdict to record for an attempt that v was passed on and that took
// elapsed: RatioFailure for a success that was slow, else v. It is meant for unary
// attempts; how long a stream lasts says nothing.
func (p Policy) Judge(v Verdict, elapsed time.Duration) Verdict {
	if v == Success && p.SlowCall > 0 && elapsed >= p.SlowCall {
		return RatioFailure
	}
	return v
}

// ServicePolicy says when a whole service is taken for dead. The zero value is the
// documented default, and so is each zero field.
type ServicePolicy struct {
	// Quiet is how long nothing may have succeeded, while attempts kept failing, for
	// the service to be taken for dead. Default 1s.
	Quiet time.Duration

	// MinFailures is how many attempts must have failed within the last 2×Quiet.
	// Default 20.
	MinFailures int

	// TrialInterval is the time between two attempts that are let through while the
	// breaker is open. Default 50ms.
	TrialInterval time.Duration

	// DryRun makes the breaker decide and tell of its changes, and yet let all calls
	// pass. Default false.
	DryRun bool
}

// WithDefaults returns p with every zero field replaced by its default.
func (p ServicePolicy) WithDefaults() ServicePolicy {
	setDefault(&p.Quiet, time.Second)
	setDefault(&p.MinFailures, 20)
	setDefault(&p.TrialInterval, 50*time.Millisecond)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p ServicePolicy) Validate() error {
	p = p.WithDefaults()
	return errors.Join(
		inRange("Quiet", p.Quiet, minSpan, maxSpan),
		inRange("MinFailures", p.MinFailures, 1, maxServiceFailures),
		inRange("TrialInterval", p.TrialInterval, time.Millisecond, maxSpan),
	)
}

const (
	// minSpan leaves room for gobreaker's own Timeout and for ten steps of a window.
	minSpan = 10 * time.Millisecond
	maxSpan = 24 * time.Hour

	maxCount  = 1_000_000
	maxTrials = 100

	// maxServiceFailures bounds the memory of a Service: it remembers that many
	// instants.
	maxServiceFailures = 10_000
)

func setDefault[T int | float64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// inRange is written so that NaN is out of range.
func inRange[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("breaker: %s %v: want %v to %v", field, value, least, most)
}

func zeroOrInRange[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value == 0 {
		return nil
	}
	return inRange(field, value, least, most)
}
