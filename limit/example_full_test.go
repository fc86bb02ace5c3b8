package limit_test

import (
	"fmt"

	"github.com/surecall/surecall/limit"
)

// Of two instances, the first that has room. The other's limit, which finds itself, is told
// that it held a call back.
func ExampleLimiter_Full() {
	adaptive := limit.Concurrency{Adaptive: limit.Adaptive{On: true, Initial: 1}}
	instances := []*limit.Limiter{limit.NewLimiter(adaptive, nil, nil), limit.NewLimiter(adaptive, nil, nil)}
	for range 2 {
		for n, l := range instances {
			if l.Full(limit.Normal) {
				l.Missed()
				continue
			}
			fmt.Println("taken at", n, l.TryAcquire())
			break
		}
	}
	// Output:
	// taken at 0 true
	// taken at 1 true
}
