package status_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/surecall/surecall/status"
)

// A page that is also asked for under a name of one's own, by way of a proxy that asks for a
// password. Package surecall has StatusHandler, which makes a page of clients.
func ExampleHandler() {
	read := func() []status.Status { return []status.Status{{Service: "orders"}} } // surecall.Statuses(client)
	page := status.Handler(read, status.WithHosts("ops.example.com"))

	for _, host := range []string{"127.0.0.1:8080", "localhost:8080", "ops.example.com", "evil.example.com"} {
		request := httptest.NewRequest(http.MethodGet, "/status.json", nil)
		request.Host = host
		answer := httptest.NewRecorder()
		page.ServeHTTP(answer, request)
		fmt.Println(host, answer.Code)
	}
	// Output:
	// 127.0.0.1:8080 200
	// localhost:8080 200
	// ops.example.com 200
	// evil.example.com 403
}
