package lifecycle_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/lifecycle"
)

// The command against a server's own endpoint, over real connections.
func TestOfflineCommandSendsALifeOffline(t *testing.T) {
	life := lifecycle.New(lifecycle.Config{
		Service: service, Listen: "127.0.0.1:0",
		Admin:  lifecycle.Admin{Address: "127.0.0.1:0"},
		Drain:  lifecycle.Drain{Propagation: time.Millisecond, Quiet: time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err := life.Start(t.Context(), grpc.NewServer(life.ServerOptions()...)); err != nil {
		t.Fatal(err)
	}
	address := life.AdminAddress()
	var out strings.Builder
	if done, code := lifecycle.OfflineCommand([]string{"offline"}, address, &out); !done || code != 0 {
		t.Errorf("done %v, code %d: %s", done, code, &out)
	}
	if err := life.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	out.Reset()
	if _, code := lifecycle.OfflineCommand([]string{"offline"}, address, &out); code != 1 || !strings.Contains(out.String(), "POST /offline: dial tcp") {
		t.Errorf("after its end: code %d: %s", code, &out)
	}
}
