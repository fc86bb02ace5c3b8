package surecall_test

import (
	"context"
	"fmt"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// Callers see what they would see without surecall, and the report says what they would be
// spared. Once it convinces, Update switches shadow mode off while the program runs.
func ExampleWithShadow() {
	failing := &shop{}
	failing.failures.Store(1)
	target, closeAll := openShops(failing, &shop{})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithShadow())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.WaitReady(context.Background()); err != nil {
		fmt.Println(err)
		return
	}

	stub, failed := orders.NewOrdersClient(client), 0
	for range 10 {
		if _, err := stub.Get(context.Background(), &orders.GetRequest{Id: "7"}); err != nil {
			failed++
		}
	}
	for _, m := range client.Shadow().Methods {
		fmt.Printf("%s: %d of %d calls failed, %d would have had another attempt: %v\n", m.Method, failed, m.Calls, m.Saved, m.WouldRetry)
	}
	fmt.Println(client.Update(surecall.WithoutShadow()))
	// Output:
	// /orders.v1.Orders/Get: 1 of 10 calls failed, 1 would have had another attempt: map[UNAVAILABLE:1]
	// <nil>
}
