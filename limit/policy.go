package limit

import (
	"errors"
	"fmt"
	"time"
)

// Concurrency says how many may be in flight at once. The zero value is the owner's
// default limit, without a queue. Values can be compared with ==.
type Concurrency struct {
	// Limit is how many may be in flight. Default: what the owner of the [Limiter]
	// says, else 1024 (Envoy's max_requests, gRPC's xDS). It must be left zero when
	// Adaptive is on.
	Limit int

	// Adaptive finds the limit itself. Default off.
	Adaptive Adaptive

	// Queue is where those wait who find no room. Default none: they are refused at
	// once.
	Queue Queue
}

// Adaptive says how a limit is found from latencies: see the package comment. While it
// is on, each zero field is the documented default.
type Adaptive struct {
	// On switches it on.
	On bool

	// Min is the least the limit can be. Default 1 (failsafe-go).
	Min int

	// Max is the most it can be. Default 1000 (Netflix's Vegas, Envoy).
	Max int

	// Initial is what it is before the first measurement. Default 20, or Min or Max if
	// those exclude 20 (Netflix, failsafe-go).
	Initial int

	// Tolerance is by which share the median latency may exceed that without load
	// before the limit falls, in 0…10. Default 0.25 (Envoy's buffer).
	Tolerance float64

	// Interval is how often the latency without load is measured again while the limit
	// holds calls back. Default 10s (the window of BBR's minimum).
	Interval time.Duration
}

// Queue says how calls wait for room. The zero value is no queue.
type Queue struct {
	// MaxWaiting is how many may wait. Default 0: none.
	MaxWaiting int

	// Interval is how long anyone waits at most, and how long the queue may stand
	// without having been empty before that is taken for overload. Default 100ms
	// (CoDel; Facebook).
	Interval time.Duration

	// Target is how long anyone who comes during overload waits at most. Default 5ms
	// (CoDel; Facebook).
	Target time.Duration
}

// WithDefaults returns p with every zero field replaced by its default, except Limit,
// whose default is its owner's.
func (p Concurrency) WithDefaults() Concurrency {
	if a := &p.Adaptive; a.On {
		setDefault(&a.Min, 1)
		setDefault(&a.Max, max(1000, a.Min))
		setDefault(&a.Initial, max(a.Min, min(20, a.Max)))
		setDefault(&a.Tolerance, 0.25)
		setDefault(&a.Interval, 10*time.Second)
	}
	if q := &p.Queue; q.MaxWaiting != 0 {
		setDefault(&q.Interval, 100*time.Millisecond)
		setDefault(&q.Target, min(5*time.Millisecond, q.Interval))
	}
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p Concurrency) Validate() error {
	a, q := p.WithDefaults().Adaptive, p.WithDefaults().Queue
	errs := []error{
		inRange("Limit", p.Limit, 0, maxCount),
		inRange("Queue.MaxWaiting", q.MaxWaiting, 0, maxCount),
	}
	switch {
	case a.On:
		errs = append(errs,
			inRange("Adaptive.Min", a.Min, 1, maxCount),
			inRange("Adaptive.Max", a.Max, max(1, a.Min), maxCount),
			inRange("Adaptive.Initial", a.Initial, a.Min, a.Max),
			inRange("Adaptive.Tolerance", a.Tolerance, 0, 10),
			inRange("Adaptive.Interval", a.Interval, time.Second, maxSpan))
		if p.Limit != 0 {
			errs = append(errs, fmt.Errorf("limit: Limit %d: want 0 while Adaptive is on", p.Limit))
		}
	case a != Adaptive{}:
		errs = append(errs, fmt.Errorf("limit: Adaptive %+v: want On, or no other field", a))
	}
	switch {
	case q.MaxWaiting > 0:
		errs = append(errs,
			inRange("Queue.Interval", q.Interval, time.Millisecond, maxSpan),
			inRange("Queue.Target", q.Target, 0, q.Interval))
	case q.MaxWaiting == 0 && q != Queue{}:
		errs = append(errs, fmt.Errorf("limit: Queue %+v: want MaxWaiting, or no other field", q))
	}
	return errors.Join(errs...)
}

// Rate says how many calls may begin per second. PerSecond has no default.
type Rate struct {
	// PerSecond is how many calls may begin per second in the long run.
	PerSecond float64

	// Burst is how many may begin at once after a pause. Default: those of one second,
	// at least 1 (Guava).
	Burst int

	// Wait makes calls wait for their turn. Default: they are refused.
	Wait bool

	// MaxWait is the most a critical call waits; a normal one waits half of it, and a
	// sheddable one not at all. Default 1s, while Wait is set.
	MaxWait time.Duration
}

// WithDefaults returns p with every zero field replaced by its default.
func (p Rate) WithDefaults() Rate {
	setDefault(&p.Burst, int(max(1, min(p.PerSecond, maxCount))))
	if p.Wait {
		setDefault(&p.MaxWait, time.Second)
	}
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p Rate) Validate() error {
	p = p.WithDefaults()
	errs := []error{
		inRange("PerSecond", p.PerSecond, 1e-3, 1e9),
		inRange("Burst", p.Burst, 1, maxCount),
		inRange("MaxWait", p.MaxWait, 0, maxSpan),
	}
	if p.MaxWait != 0 && !p.Wait {
		errs = append(errs, fmt.Errorf("limit: MaxWait %v: want Wait with it", p.MaxWait))
	}
	return errors.Join(errs...)
}

// Throttle says how a client holds back what a service would refuse. The zero value is
// the documented default, and so is each zero field.
type Throttle struct {
	// K is how many calls are let through for each one the service accepts, at least
	// 1.1. The nearer to 1, the more is held back. Default 2 (Google SRE book, ch. 21).
	K float64

	// Window is how far back is counted; it rolls in ten steps. What is let through
	// grows K-fold per Window after a recovery. Default 3s (Kratos; the book has two
	// minutes).
	Window time.Duration

	// MinRequests is how many calls the window must hold for anything to be held back.
	// Default 20 (Kratos).
	MinRequests int

	// MaxRejected is the largest share of calls held back, in 0…1: the rest finds the
	// recovery. Default 0.9 (failsafe-go).
	MaxRejected float64
}

// WithDefaults returns p with every zero field replaced by its default.
func (p Throttle) WithDefaults() Throttle {
	setDefault(&p.K, 2)
	setDefault(&p.Window, 3*time.Second)
	setDefault(&p.MinRequests, 20)
	setDefault(&p.MaxRejected, 0.9)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p Throttle) Validate() error {
	p = p.WithDefaults()
	return errors.Join(
		inRange("K", p.K, 1.1, 100),
		inRange("Window", p.Window, 100*time.Millisecond, maxSpan),
		inRange("MinRequests", p.MinRequests, 1, maxCount),
		inRange("MaxRejected", p.MaxRejected, 0, 1),
	)
}

const (
	maxCount = 1_000_000
	maxSpan  = 24 * time.Hour
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
	return fmt.Errorf("limit: %s %v: want %v to %v", field, value, least, most)
}
