package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/surecall/surecall"
)

// servePage serves the client's status page at the address until stop is called. Whoever
// reaches the page can read it: the address is one of loopback, or there is a proxy before
// it that asks who comes.
func servePage(address string, client *surecall.Client) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-status: %w", err)
	}
	server := &http.Server{Handler: client.StatusHandler(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Printf("status page: http://%s/ and for Prometheus http://%[1]s/metrics\n", listener.Addr())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close() // of somebody who reads slowly
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			fmt.Println("status page:", err)
		}
	}, nil
}
