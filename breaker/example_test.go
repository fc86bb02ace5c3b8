package breaker_test

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/breaker"
)

// An instance that fails five attempts in a row is ejected; when that is over, it is
// due for the trial that lets it back in.
func ExampleInstance() {
	b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{
		Changed: func(c breaker.Change) { fmt.Printf("%v to %v: %s\n", c.From, c.To, c.Why) },
	})
	for range 5 {
		word := b.Word()                // when the attempt is picked
		b.Record(word, breaker.Failure) // when it ends
	}

	over := b.Counts().EjectedUntil
	fmt.Println("due for a trial before and after:", b.Due(time.Now()), b.Due(over))
	// Output:
	// closed to open: 5 failures in a row
	// due for a trial before and after: false true
}

// Whoever operates a client may take an instance out, and bring it back, against all
// evidence.
func ExampleInstance_SetMode() {
	b := breaker.NewInstance(breaker.Policy{}, breaker.Hooks{
		Changed: func(c breaker.Change) { fmt.Printf("%v to %v: %s\n", c.From, c.To, c.Why) },
	})
	b.SetMode(breaker.ForcedOpen)
	fmt.Println("due for a trial in a year:", b.Due(time.Now().AddDate(1, 0, 0)))
	b.SetMode(breaker.Automatic)
	// Output:
	// closed to open: forced open by hand
	// due for a trial in a year: false
	// open to closed: set to automatic by hand
}

// A success that takes too long may count against its instance.
func ExamplePolicy_Judge() {
	p := breaker.Policy{SlowCall: 2 * time.Second}
	fmt.Println(p.Judge(breaker.Success, 1900*time.Millisecond))
	fmt.Println(p.Judge(breaker.Success, 2100*time.Millisecond))
	// Output:
	// success
	// ratio failure
}

// A method that fails for most of its callers is given up for a while.
func ExampleMethod() {
	m := breaker.NewMethod(breaker.MethodPolicy{MinRequests: 3, Open: 4 * time.Second}, func(c breaker.Change) {
		fmt.Printf("%v to %v: %s\n", c.From, c.To, c.Why)
	})
	for range 3 {
		now := time.Now()
		if entry, ok := m.Enter(now); ok { // before the call
			m.Record(entry, breaker.Failure, 20*time.Millisecond, now) // when it has ended
		}
	}
	_, ok := m.Enter(time.Now())
	fmt.Println("passes:", ok, "- come back later:", m.RetryAfter(time.Now()) > 3*time.Second)
	// Output:
	// closed to open: 3 of 3 calls failed in 10s
	// passes: false - come back later: true
}

// A method that answers, but too late to be of use, is given up as well.
func ExampleMethodPolicy() {
	m := breaker.NewMethod(breaker.MethodPolicy{MinRequests: 3, SlowCall: time.Second}, func(c breaker.Change) {
		fmt.Printf("%v to %v: %s\n", c.From, c.To, c.Why)
	})
	for range 3 {
		if entry, ok := m.Enter(time.Now()); ok {
			m.Record(entry, breaker.Success, 1500*time.Millisecond, time.Now())
		}
	}
	// Output: closed to open: 3 of 3 calls took 1s or more in 10s
}

// In a dry run a breaker tells what it would have done, and lets all calls pass.
func ExampleMethod_dryRun() {
	m := breaker.NewMethod(breaker.MethodPolicy{MinRequests: 3, DryRun: true}, func(c breaker.Change) {
		fmt.Printf("%v to %v, dry run %v\n", c.From, c.To, c.DryRun)
	})
	for range 4 {
		entry, ok := m.Enter(time.Now())
		fmt.Println("passes:", ok)
		m.Record(entry, breaker.Failure, 0, time.Now())
	}
	// Output:
	// passes: true
	// passes: true
	// passes: true
	// closed to open, dry run true
	// passes: true
}

// A service that nobody reaches for a second is given up, except for a trial now and
// then.
func ExampleService() {
	s := breaker.NewService(breaker.ServicePolicy{}, func(c breaker.Change) {
		fmt.Printf("%v to %v: %s\n", c.From, c.To, c.Why)
	})
	now := time.Now()
	for range 21 {
		s.Failure(now)
		now = now.Add(50 * time.Millisecond)
	}
	for range 3 {
		ok, trial := s.Allow(now)
		fmt.Println(ok, trial)
	}
	s.Success(now)
	// Output:
	// closed to open: no attempt succeeded for 1s and 21 failed
	// true true
	// false false
	// false false
	// open to closed: an attempt succeeded after 50ms
}

// A handler's plain error, which is UNKNOWN in Go, is no reason to leave an instance;
// for a service where it is, wrap the default.
func ExampleClassify() {
	strict := func(o breaker.Outcome) breaker.Verdict {
		if o.Code == codes.Unknown {
			return breaker.RatioFailure
		}
		return breaker.Classify(o)
	}
	o := breaker.Outcome{Code: codes.Unknown}
	fmt.Println(breaker.Classify(o), "or", strict(o))
	// Output: success or ratio failure
}
