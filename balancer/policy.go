package balancer

import (
	"errors"
	"fmt"
	"time"
)

// Policy says how calls are spread over instances. Its zero value is the default.
type Policy struct {
	// Choice is how one of the eligible instances is chosen. Default [LeastLoaded]
	// (least loaded of two, as in Linkerd and Finagle).
	Choice Choice
	// SlowStart is how long an instance that is new, or back from an ejection, takes to
	// its full share, in a straight line. Default 30 s (Envoy's recommended window).
	SlowStart time.Duration
	// SlowStartFrom is the share it starts with. Default 0.1 (Envoy's minimum weight).
	// 1 switches slow start off.
	SlowStartFrom float64
}

// Defaults of [Policy].
const (
	DefaultSlowStart     = 30 * time.Second
	DefaultSlowStartFrom = 0.1
)

// WithDefaults returns p with each zero field set to its default.
func (p Policy) WithDefaults() Policy {
	if p.Choice == nil {
		p.Choice = LeastLoaded
	}
	if p.SlowStart == 0 {
		p.SlowStart = DefaultSlowStart
	}
	if p.SlowStartFrom == 0 {
		p.SlowStartFrom = DefaultSlowStartFrom
	}
	return p
}

// Validate reports everything that is wrong with p, joined.
func (p Policy) Validate() error {
	var errs []error
	if p.SlowStart < 0 {
		errs = append(errs, fmt.Errorf("balancer: SlowStart %v: want 0 (means %v) or more", p.SlowStart, DefaultSlowStart))
	}
	if !(p.SlowStartFrom >= 0 && p.SlowStartFrom <= 1) {
		errs = append(errs, fmt.Errorf("balancer: SlowStartFrom %v: want 0 (means %v) < share ≤ 1", p.SlowStartFrom, DefaultSlowStartFrom))
	}
	return errors.Join(errs...)
}
