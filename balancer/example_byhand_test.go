package balancer_test

import (
	"fmt"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
)

// An instance is taken out by its ID. A misspelt one is an error.
func ExampleFleet_SetMode() {
	fleet := balancer.NewFleet(balancer.Config{Service: "orders"})
	fmt.Println(fleet.SetMode("orders-1", breaker.ForcedOpen))
	// Output:
	// balancer: SetMode "orders-1": want the ID of an instance: none of the 0 known has it
}

// Who would get a broadcast.
func ExampleStatus_Eligible() {
	fleet := balancer.NewFleet(balancer.Config{Service: "orders"})
	for _, i := range fleet.Status() {
		if i.Eligible() {
			fmt.Println(i.ID, i.Address)
		}
	}
	// Output:
}
