package static_test

import (
	"context"
	"fmt"
	"net/url"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/static"
)

func ExampleNew() {
	source, err := static.New(
		discovery.Instance{Address: "10.0.0.1:50051", Weight: 3},
		discovery.Instance{Address: "10.0.0.2:50051"},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = source.Watch(ctx, discovery.Query{Service: "orders"}, func(s discovery.Snapshot) {
		for _, i := range s.Instances {
			fmt.Println(i.Address, i.Weight)
		}
		cancel() // a client would go on watching
	})
	fmt.Println(err)
	// Output:
	// 10.0.0.1:50051 3
	// 10.0.0.2:50051 1
	// context canceled
}

func ExampleParseTarget() {
	u, err := url.Parse("static:///10.0.0.1:50051;weight=3,nowhere?serivce=orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = static.ParseTarget(u)
	fmt.Println(err)
	// Output:
	// discovery/static: target "static:///10.0.0.1:50051;weight=3,nowhere?serivce=orders": key "serivce": known here are service
	// instance 2 "nowhere": want host:port, [ipv6]:port or unix:path: address nowhere: missing port in address
}
