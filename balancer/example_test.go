package balancer_test

import (
	"fmt"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
)

// A service whose instances need a minute to warm up, and whose calls all cost the same.
func ExamplePolicy() {
	p := balancer.Policy{Choice: balancer.RoundRobin, SlowStart: time.Minute}
	client, err := surecall.NewClient("static:///10.0.0.1:80,10.0.0.2:80",
		surecall.WithInsecure(), surecall.WithBalancer(p))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	p = p.WithDefaults()
	fmt.Printf("%v, from %v of its share to all of it in %v\n", p.Choice, p.SlowStartFrom, p.SlowStart)
	// Output:
	// round robin, from 0.1 of its share to all of it in 1m0s
}

// Everything that is wrong is reported at once.
func ExamplePolicy_Validate() {
	fmt.Println(balancer.Policy{SlowStart: -time.Second, SlowStartFrom: 2}.Validate())
	// Output:
	// balancer: SlowStart -1s: want 0 (means 30s) or more
	// balancer: SlowStartFrom 2: want 0 (means 0.1) < share ≤ 1
}
