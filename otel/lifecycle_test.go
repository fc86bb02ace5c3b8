package surecallotel_test

import (
	"errors"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/surecall/surecall/event"
	surecallotel "github.com/surecall/surecall/otel"
)

// The steps of a server's start and leaving are counted by how they ended.
func TestLifecycleEvents(t *testing.T) {
	to := newTelemetry(sdktrace.AlwaysSample())
	handle, err := surecallotel.LifecycleEvents(to.options()...)
	if err != nil {
		t.Fatal(err)
	}
	handle(event.LifecycleStep{Service: "orders", Step: "deregister", Took: time.Second})
	handle(event.LifecycleStep{Service: "orders", Step: "deregister", Took: 3 * time.Second, Err: errors.New("no leader")})
	handle(event.InstanceAdded{Service: "orders"})
	for outcome, want := range map[string]uint64{"ok": 1, "error": 1} {
		if n := to.count(t, "surecall.server.lifecycle.step", "surecall.service", "orders", "surecall.step", "deregister", "surecall.outcome", outcome); n != want {
			t.Errorf("%d steps ended %s: want %d", n, outcome, want)
		}
	}
}
