package lifecycle_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/surecall/surecall/lifecycle"
)

func ExampleOfflineCommand() {
	// The admin endpoint of a server that another process of this binary runs.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("server:", r.Method, r.URL.Path)
		fmt.Fprintln(w, `{"state":"offline","seconds":1.5}`)
	}))
	defer server.Close()

	// The first lines of main. There, args is os.Args[1:], the address is that of
	// Config.Admin, and progress is os.Stderr.
	args, address, progress := []string{"offline"}, server.Listener.Addr().String(), new(strings.Builder)
	if done, code := lifecycle.OfflineCommand(args, address, progress); done {
		fmt.Println("exit with", code) // os.Exit(code)
	}
	// Output:
	// server: POST /offline
	// exit with 0
}
