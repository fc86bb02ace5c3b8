package status_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/surecall/surecall/status"
)

// The status pages serve this as /metrics. It is for programs that have a page of their own
// for Prometheus.
func ExampleWritePrometheus() {
	s := status.Status{Service: "orders", Methods: []status.Method{
		{Name: "/orders.v1.Orders/Get", Calls: map[string]uint64{"OK": 41, "UNAVAILABLE": 1}},
	}}
	var text strings.Builder
	if err := status.WritePrometheus(&text, []status.Status{s}, false); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	for _, line := range regexp.MustCompile(`(?m)^.*calls_total.*$`).FindAllString(text.String(), -1) {
		fmt.Println(line)
	}
	// Output:
	// # HELP surecall_client_calls_total Calls that have ended.
	// # TYPE surecall_client_calls_total counter
	// surecall_client_calls_total{surecall_service="orders",rpc_method="orders.v1.Orders/Get",rpc_response_status_code="OK"} 41
	// surecall_client_calls_total{surecall_service="orders",rpc_method="orders.v1.Orders/Get",rpc_response_status_code="UNAVAILABLE"} 1
}
