package balancer_test

import (
	"fmt"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
)

// An instance is taken out by its ID. A misspelt one is an error.
func ExampleFleet_SetMode() {
	fleet := balancer.NewFleet(balancer.Config{Service: "orders"})
	fmt.Println(fleet.SetMode("orders-1", breaker.ForcedOpen))
	// Output:
	// balancer: SetMode "orders-1": want the ID of an instance: none of the 0 known has it
}

// Who would be called now, of what Fleet.Status returns.
func ExampleStatus_Eligible() {
	all := []balancer.Status{
		{ID: "orders-1", State: event.Eligible},
		{ID: "orders-2", State: event.Draining},
		{ID: "orders-3", State: event.Overruled},
	}
	for _, i := range all {
		if i.Eligible() {
			fmt.Println(i.ID)
		}
	}
	// Output:
	// orders-1
	// orders-3
}
