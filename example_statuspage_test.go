package surecall_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/status"
)

// debug shows all clients of a process. It belongs on loopback: there is no password.
func debug(clients ...*surecall.Client) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/debug/surecall/", surecall.StatusHandler(clients...))
	return mux
}

// The status page of all clients of a process, with JSON and Prometheus' text beside it.
func ExampleStatusHandler() {
	client, err := surecall.NewClient("static:///127.0.0.1:50051,127.0.0.1:50052", surecall.WithInsecure())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Handler: debug(client)}
	defer server.Close()
	go server.Serve(listener)

	answer, err := http.Get("http://" + listener.Addr().String() + "/debug/surecall/status.json")
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
