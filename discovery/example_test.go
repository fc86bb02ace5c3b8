package discovery_test

import (
	"fmt"

	"github.com/surecall/surecall/discovery"
)

func ExampleSanitize() {
	usable, problems := discovery.Sanitize([]discovery.Instance{
		{Address: "10.0.0.1:50051"},
		{ID: "orders-2", Address: "10.0.0.2"},
		{ID: "orders-3", Address: "10.0.0.3:50051", Weight: 100_000},
	})
	for _, i := range usable {
		fmt.Println(i.ID, i.Address, i.Weight)
	}
	for _, p := range problems {
		fmt.Println(p)
	}
	// Output:
	// 10.0.0.1:50051 10.0.0.1:50051 1
	// orders-3 10.0.0.3:50051 65535
	// orders-2: address "10.0.0.2": want host:port, [ipv6]:port or unix:path: address 10.0.0.2: missing port in address: skipped
	// orders-3: weight 100000: used as 65535
}

func ExampleQuery_Select() {
	set := []discovery.Instance{
		{ID: "a", Tags: []string{"v1"}},
		{ID: "b", Tags: []string{"v2"}},
		{ID: "c", Tags: []string{"v2"}, Health: discovery.Critical},
	}
	for _, i := range (discovery.Query{Service: "orders", Tags: []string{"v2"}}).Select(set) {
		fmt.Println(i.ID)
	}
	// Output: b
}

func ExampleRegistration_Validate() {
	fmt.Println(discovery.Registration{Instance: discovery.Instance{Address: "10.0.0.1", Weight: -1}}.Validate())
	// Output:
	// discovery: registration Service is empty: want the name callers look for
	// discovery: registration Address "10.0.0.1": want host:port, [ipv6]:port or unix:path: address 10.0.0.1: missing port in address
	// discovery: registration Weight -1: want 0 (means 1) to 65535
}
