package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/surecall/surecall/lifecycle/internal/admin"
)

// server has drained by the time that it is asked.
type server struct{}

func (server) Live() error                   { return nil }
func (server) Ready() error                  { return errors.New("draining") }
func (server) Offline(context.Context) error { return nil }
func (server) Online(context.Context) error  { return nil }
func (server) InFlight() admin.InFlight      { return admin.InFlight{Streams: 1, Draining: true} }

func ExampleHandler() {
	endpoint := httptest.NewUnstartedServer(nil)
	endpoint.Config = admin.NewServer(admin.Handler(server{}, admin.Options{}), slog.Default())
	endpoint.Start()
	defer endpoint.Close()

	for _, path := range []string{"/healthz", "/readyz", "/inflight", "/offline"} {
		resp, err := http.Get(endpoint.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%d %s", resp.StatusCode, answer)
	}
	// Output:
	// 200 live
	// 503 not ready: draining
	// 200 {"unary":0,"streams":1,"draining":true}
	// 405 GET /offline: want POST (the option Admin.GetOffline of lifecycle.Config allows GET)
}
