package retry_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/retry"
)

func TestPushback(t *testing.T) {
	type answer struct {
		wait     time.Duration
		stop, ok bool
	}
	for _, c := range []struct {
		values []string
		want   answer
	}{
		{nil, answer{}},
		{[]string{"0"}, answer{0, false, true}},
		{[]string{"1500"}, answer{1500 * time.Millisecond, false, true}},
		{[]string{"2147483647"}, answer{2147483647 * time.Millisecond, false, true}},
		{[]string{"2147483648"}, answer{0, true, true}},
		{[]string{"-1"}, answer{0, true, true}},
		{[]string{"soon"}, answer{0, true, true}},
		{[]string{""}, answer{0, true, true}},
		{[]string{"1.5"}, answer{0, true, true}},
		{[]string{"10", "20"}, answer{0, true, true}},
	} {
		trailer := metadata.MD{"grpc-retry-pushback-ms": c.values}
		var got answer
		if got.wait, got.stop, got.ok = retry.Pushback(trailer, nil); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.values, got, c.want)
		}
	}
	if _, _, ok := retry.Pushback(nil, nil); ok {
		t.Error("no trailer pushes back")
	}
}
