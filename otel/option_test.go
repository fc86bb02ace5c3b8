package surecallotel_test

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	surecallotel "github.com/surecall/surecall/otel"
)

// What is wrong is said at once, all of it.
func TestOptionErrors(t *testing.T) {
	_, err := surecallotel.NewObserver(nil, surecallotel.WithMeterProvider(nil), surecallotel.WithTracerProvider(nil),
		surecallotel.WithPropagator(nil), surecallotel.WithAttributes(attribute.KeyValue{}))
	for _, want := range []string{"option 0 is nil", "WithMeterProvider(nil)", "WithTracerProvider(nil)", "WithPropagator(nil)", `WithAttributes: ""`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q in it", err, want)
		}
	}
	if _, err := surecallotel.Observe(nil); err == nil {
		t.Error("a client that is nil may be observed")
	}
	if _, err := surecallotel.LifecycleEvents(nil); err == nil {
		t.Error("an option that is nil may be given")
	}
}
