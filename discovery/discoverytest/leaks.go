package discoverytest

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

// leaks ends a watch and looks for what it started. A bubble finds that by itself. In
// real time each goroutine inherits the labels of the one that started it, so those
// of a watch can be told from all others. Connections that net/http keeps for reuse
// are not counted.
func leaks(t *testing.T, h Harness) {
	service, set := stocked(t, h)
	label := newService()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var w *watching
	pprof.Do(ctx, pprof.Labels("discoverytest", label), func(ctx context.Context) {
		w = start(ctx, t, h, discovery.Query{Service: service}, nil)
	})
	w.untilSet(set...)
	cancel()
	wantCanceled(t, "while nothing happens", w.ended())
	if h.Bubble {
		return
	}
	// A goroutine that has announced its end may still be there for a moment.
	deadline := time.NewTimer(h.Deadline)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for left := labelled(t, label); left != ""; left = labelled(t, label) {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("%v after Watch returned this still runs:\n%s", h.Deadline, left)
		}
	}
}

// labelled returns the stacks of the goroutines with the label, except net/http's.
func labelled(t *testing.T, label string) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	var left []string
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, label) && !strings.Contains(stack, "net/http.(*") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
