package retry_test

import (
	"fmt"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
)

func ExamplePolicy_Delay() {
	var p retry.Policy
	for n := range 7 {
		fmt.Println(n+1, "up to", p.Delay(n+1, 1))
	}
	// Output:
	// 1 up to 25ms
	// 2 up to 50ms
	// 3 up to 100ms
	// 4 up to 200ms
	// 5 up to 400ms
	// 6 up to 800ms
	// 7 up to 1s
}

// 20 calls pay for 4 retries. The 10 that a new budget holds are there already, and it
// can hold a second's income.
func ExampleBudget() {
	now := time.Now()
	b := retry.NewBudget(retry.BudgetPolicy{}, now)
	for range 20 {
		b.Deposit(now)
	}
	retries := 0
	for b.Withdraw(now) {
		retries++
	}
	fmt.Println(retries, "retries now")
	fmt.Printf("%.0f more after a second\n", b.Balance(now.Add(time.Second)))
	// Output:
	// 14 retries now
	// 10 more after a second
}

func ExamplePushback() {
	wait, stop, ok := retry.Pushback(metadata.Pairs("grpc-retry-pushback-ms", "250"), nil)
	fmt.Println(wait, stop, ok)
	wait, stop, ok = retry.Pushback(metadata.Pairs("grpc-retry-pushback-ms", "-1"), nil)
	fmt.Println(wait, stop, ok)
	// Output:
	// 250ms false true
	// 0s true true
}

func ExampleLookupIdempotency() {
	fmt.Println(retry.LookupIdempotency(orders.Orders_Get_FullMethodName))
	fmt.Println(retry.LookupIdempotency(orders.Orders_Place_FullMethodName))
	fmt.Println(retry.LookupIdempotency("/not.Linked/Method"))
	// Output:
	// idempotent
	// not idempotent
	// unknown
}
