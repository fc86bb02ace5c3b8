package table_test

import (
	"fmt"

	"github.com/surecall/surecall/cmd/surecall/internal/table"
	"github.com/surecall/surecall/status"
)

func fleet() []status.Status {
	return []status.Status{{
		Service: "orders", Target: "consul:///orders",
		Source: status.Source{Instances: 3, Age: 2, Answered: true, Trusted: true},
		Instances: []status.Instance{
			{ID: "orders-1", Address: "10.0.0.1:50051", Weight: 10, State: "eligible", Eligible: true, SlowStart: 1, Share: 1},
			{ID: "orders-2", Address: "10.0.0.2:50051", Weight: 10, State: "eligible", Eligible: true, SlowStart: 0.4, Share: 1},
			{ID: "orders-3\x1b[2J", Address: "10.0.0.3:50051", Weight: 10, State: "failed", SlowStart: 1, Share: 1, Why: "connection refused"},
		},
	}}
}

func ExampleRender() {
	fmt.Print(table.Render(fleet(), table.Options{Width: 80, Height: 6, Note: "12:03:04"}))
	// Output:
	// orders  consul:///orders  3 instances: 1 failed, 2 eligible
	// source  3 instances, answered 2.0s ago, trusted
	// STATE     INSTANCE         ADDRESS         WEIGHT  WHY
	// ✗ failed  orders-3\x1b[2J  10.0.0.3:50051      10  connection refused
	// … and 2 more: 2 eligible
	// 12:03:04
}

func ExampleList() {
	fmt.Print(table.List(fleet(), table.Options{}))
	// Output:
	// STATE       INSTANCE         ADDRESS         WEIGHT  SHARE  WHY
	// ✗ failed    orders-3\x1b[2J  10.0.0.3:50051      10      -  connection refused
	// ● eligible  orders-1         10.0.0.1:50051      10   100%
	// ● eligible  orders-2         10.0.0.2:50051      10    40%  slow start
	// orders: 3 instances: 1 failed, 2 eligible; source: 3 instances, answered 2.0s ago, trusted
}

func ExampleJSON() {
	fmt.Println(table.JSON([]byte("{\"id\": \"orders-3\u009b2J\"}")))
	// Output: {"id": "orders-3\u009b2J"}
}

func ExampleText() {
	fmt.Print(table.Text("no such file\x1b[2J"))
	// Output: no such file\x1b[2J
}
