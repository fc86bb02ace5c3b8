package surecall_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/status"
)

// The status page of all clients of a process, with JSON and Prometheus' text beside it.
func ExampleStatusHandler() {
	client, err := surecall.NewClient("static:///127.0.0.1:50051,127.0.0.1:50052", surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	mux := http.NewServeMux()
	mux.Handle("/debug/status/", surecall.StatusHandler(client))
	listener, err := net.Listen("tcp", "127.0.0.1:0") // loopback: there is no password
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Handler: mux}
	defer server.Close()
	go server.Serve(listener)

	answer, err := http.Get("http://" + listener.Addr().String() + "/debug/status/status.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	var all struct{ Clients []status.Status }
	fmt.Println(json.NewDecoder(answer.Body).Decode(&all))
	for _, client := range all.Clients {
		fmt.Println(client.Service, client.Budget.Tokens)
	}
	// Output:
	// <nil>
	// static 10
}
