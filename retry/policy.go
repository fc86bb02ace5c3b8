package retry

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/codes"
)

// Policy says how a call is retried. The zero value is the documented default, and so
// is each zero field.
type Policy struct {
	// MaxAttempts is how many attempts a call makes at most, the first included; 1
	// means no retry. Attempts of idempotent methods that are cut off because their
	// instance hangs are not counted, unless it is 1: the budget and the deadline bound
	// them. Default 3 (resilience4j, Kitex).
	MaxAttempts int

	// BaseDelay bounds the first delay: see Delay. Default 25ms (Envoy).
	BaseDelay time.Duration

	// MaxDelay bounds every delay. Default 1s.
	MaxDelay time.Duration

	// Multiplier is by how much the bound grows from one delay to the next, at least
	// 1. Default 2 (gRFC A6, Envoy).
	Multiplier float64

	// Codes are those after which an attempt that may have executed is repeated if its
	// method is idempotent. One that was never executed is repeated after UNAVAILABLE and
	// RESOURCE_EXHAUSTED, whatever is here.
	// Default UNAVAILABLE; an empty slice that is not nil means no code.
	Codes []codes.Code

	// Unwanted reports whether a reply, which has come without an error, is not the one
	// that was hoped for, so that an idempotent method is repeated. If nothing better comes,
	// the caller gets it (of a protocol buffer; of another kind, how the last attempt
	// ended). It may be called at the same time for several calls, and must not
	// change or keep the reply. Default nil: every reply is wanted.
	Unwanted func(reply any) bool
}

// The bounds of a Policy.
const (
	maxAttempts   = 10
	maxDelay      = time.Hour
	maxMultiplier = 100
)

// WithDefaults returns p with every zero field replaced by its default.
func (p Policy) WithDefaults() Policy {
	setDefault(&p.MaxAttempts, 3)
	setDefault(&p.BaseDelay, 25*time.Millisecond)
	setDefault(&p.MaxDelay, time.Second)
	setDefault(&p.Multiplier, 2)
	if p.Codes == nil {
		p.Codes = []codes.Code{codes.Unavailable}
	}
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	errs := []error{
		inRange("MaxAttempts", p.MaxAttempts, 1, maxAttempts),
		inRange("BaseDelay", p.BaseDelay, 1, maxDelay),
		inRange("MaxDelay", p.MaxDelay, 1, maxDelay),
		inRange("Multiplier", p.Multiplier, 1, maxMultiplier),
	}
	if p.MaxDelay < p.BaseDelay {
		errs = append(errs, fmt.Errorf("retry: MaxDelay %v: want at least BaseDelay, %v", p.MaxDelay, p.BaseDelay))
	}
	for _, c := range p.Codes {
		if c == codes.OK || c > codes.Unauthenticated {
			errs = append(errs, fmt.Errorf("retry: Codes %v: want codes of failed calls", c))
		}
	}
	return errors.Join(errs...)
}

// Delay returns how long to wait before a retry: rnd, in [0, 1), of a bound that grows
// with each retry that waits (full jitter). retry is 1 for the first of them; whether
// one goes at once before it is for the caller to say. With the defaults:
//
//	retry   delay
//	1       0 … 25 ms
//	2       0 … 50 ms
//	3       0 … 100 ms
//	4       0 … 200 ms
//	5       0 … 400 ms
//	6       0 … 800 ms
//	7       0 … 1 s, and so on
//
// Full jitter spreads the retries of many callers over the whole range; a fixed delay
// would have them come back together.
func (p Policy) Delay(retry int, rnd float64) time.Duration {
	p = p.WithDefaults()
	bound := float64(p.BaseDelay) * math.Pow(p.Multiplier, float64(max(retry, 1)-1))
	return time.Duration(rnd * min(bound, float64(p.MaxDelay)))
}

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
	return fmt.Errorf("retry: %s %v: want %v to %v", field, value, least, most)
}
