package limit_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surecall/surecall/limit"
)

// Of ten slots, any call may have eight, a normal one ten.
func ExampleLimiter() {
	l := limit.NewLimiter(limit.Concurrency{Limit: 10}, nil, func(inFlight, limit int) {
		fmt.Printf("crowded: %d of %d\n", inFlight, limit)
	})
	for l.TryAcquire() { // no clock, no lock
	}
	for _, p := range []limit.Priority{limit.Sheddable, limit.Normal} {
		err := l.Acquire(context.Background(), limit.Ask{Priority: p}, time.Now())
		fmt.Printf("%v: %v\n", p, err)
	}
	l.Release() // when the attempt is over
	fmt.Println("in flight:", l.InFlight())
	// Output:
	// crowded: 8 of 10
	// sheddable: limit: shed
	// normal: <nil>
	// in flight: 8
}

// A call that finds no room waits for it, as long as that makes sense.
func ExampleQueue() {
	l := limit.NewLimiter(limit.Concurrency{
		Limit: 1,
		Queue: limit.Queue{MaxWaiting: 100, Interval: time.Minute},
	}, nil, nil)
	l.TryAcquire()

	now := time.Now()
	err := l.Acquire(context.Background(), limit.Ask{Deadline: now.Add(time.Second), Need: 2 * time.Second}, now)
	fmt.Println("one that would come too late:", err)

	time.AfterFunc(10*time.Millisecond, l.Release) // hands the slot over
	err = l.Acquire(context.Background(), limit.Ask{}, now)
	fmt.Println("one that waited:", err)
	// Output:
	// one that would come too late: limit: deadline cannot be met
	// one that waited: <nil>
}

// An adaptive limit learns from each attempt. Here the service is never late, and all
// of the limit is used, so that it grows.
func ExampleAdaptive() {
	l := limit.NewLimiter(limit.Concurrency{Adaptive: limit.Adaptive{On: true}}, nil, nil)
	now := time.Now()
	fmt.Println("begins at", l.Limit())
	for range 30 {
		n := 0
		for l.TryAcquire() {
			n++
		}
		now = now.Add(20 * time.Millisecond)
		for range n {
			l.Sample(limit.Sample{Elapsed: 20 * time.Millisecond, Outcome: limit.Success}, now)
			l.Release()
		}
	}
	fmt.Println("grew:", l.Limit() > 30)
	// Output:
	// begins at 20
	// grew: true
}

// Two calls at once, then ten per second.
func ExampleRateLimiter() {
	now := time.Now()
	l := limit.NewRateLimiter(limit.Rate{PerSecond: 10, Burst: 2}, now)
	for range 3 {
		err := l.Take(context.Background(), limit.Ask{}, now)
		if refused, ok := errors.AsType[*limit.RateError](err); ok {
			fmt.Println("again in", refused.RetryAfter.Round(time.Millisecond))
		} else {
			fmt.Println(err)
		}
	}
	// Output:
	// <nil>
	// <nil>
	// again in 100ms
}

// A service that accepts one call of four is sent about half of them: twice what it
// accepts.
func ExampleThrottler() {
	now := time.Now()
	t := limit.NewThrottler(limit.Throttle{}, now)
	for i := range 1000 {
		t.Done(i%4 == 0, now)
	}
	fmt.Printf("held back: %.2f, critical ones: %.2f\n", t.Rejected(limit.Normal, now), t.Rejected(limit.Critical, now))
	const rnd = 0.3 // rand.Float64()
	fmt.Println(t.Allow(limit.Normal, now, rnd), t.Allow(limit.Critical, now, rnd))
	// Output:
	// held back: 0.50, critical ones: 0.25
	// false true
}

// The priority travels in the context.
func ExampleNewContext() {
	ctx := limit.NewContext(context.Background(), limit.Critical)
	fmt.Println(limit.FromContext(ctx), limit.FromContext(context.Background()))
	// Output: critical normal
}

func ExampleParsePriority() {
	p, ok := limit.ParsePriority("sheddable")
	fmt.Println(p, ok)
	// Output: sheddable true
}

// All of a policy's problems are reported at once.
func ExampleConcurrency_Validate() {
	fmt.Println(limit.Concurrency{Limit: -1, Adaptive: limit.Adaptive{Max: 10}}.Validate())
	// Output:
	// limit: Limit -1: want 0 to 1000000
	// limit: Adaptive {On:false Min:0 Max:10 Initial:0 Tolerance:0 Interval:0s}: want On, or no other field
}
