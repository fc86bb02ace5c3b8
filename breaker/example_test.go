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
