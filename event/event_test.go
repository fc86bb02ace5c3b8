package event_test

import (
	"slices"
	"testing"

	"github.com/surecall/surecall/event"
)

func TestTee(t *testing.T) {
	var got []string
	handler := func(name string) event.Handler {
		return func(e event.Event) { got = append(got, name+" "+e.(event.ConfigWarning).What) }
	}
	for _, tc := range []struct {
		name     string
		handlers []event.Handler
		want     []string
	}{
		{"none", nil, nil},
		{"only nil", []event.Handler{nil, nil}, nil},
		{"one", []event.Handler{nil, handler("a")}, []string{"a x"}},
		{"in order", []event.Handler{handler("b"), nil, handler("a")}, []string{"b x", "a x"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got = nil
			tee := event.Tee(tc.handlers...)
			if (tee == nil) != (tc.want == nil) {
				t.Fatalf("Tee is nil: %v", tee == nil)
			}
			if tee != nil {
				tee(event.ConfigWarning{What: "x"})
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
