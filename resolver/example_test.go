package resolver_test

import (
	"fmt"
	"time"

	"github.com/surecall/surecall/resolver"
)

// What a status page or a log line shows of a client that waits for a datacenter to come
// back.
func ExampleStatus_String() {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fmt.Println(resolver.Status{
		Service: "orders",
		Datacenters: []resolver.Answer{
			{Datacenter: "eu", Instances: 3, At: at, Age: 2 * time.Hour, FromDisk: true, Why: "connection refused"},
			{Datacenter: "us", Instances: 2, At: at, Age: 9 * time.Second, Trusted: true},
		},
	})
	// Output: orders: eu: 3 instances from disk, not trusted, saved 2h0m0s ago: connection refused; us: 2 instances, trusted, answered 9s ago
}

func ExampleSnapshots_Validate() {
	fmt.Println(resolver.Snapshots{Dir: "/var/lib/orders", MaxAge: -time.Hour}.Validate())
	// Output: resolver: Snapshots: MaxAge -1h0m0s: want 0 (means 24h0m0s) or more
}
