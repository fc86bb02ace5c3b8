package limit_test

import (
	"context"
	"testing"
	"time"

	"github.com/surecall/surecall/limit"
)

// TestFull says before asking what asking would say, for each priority, and takes nothing.
func TestFull(t *testing.T) {
	l := limit.NewLimiter(limit.Concurrency{Limit: 20}, nil, nil)
	for n := range 21 {
		for _, p := range []limit.Priority{limit.Sheddable, limit.Normal, limit.Critical} {
			full := l.Full(p)
			if err := l.Acquire(context.Background(), limit.Ask{Priority: p}, time.Now()); (err != nil) != full {
				t.Errorf("%d in flight, %v: full %v, and %v", n, p, full, err)
			} else if err == nil {
				l.Release()
			}
		}
		if n < 20 && l.Acquire(context.Background(), limit.Ask{Priority: limit.Critical}, time.Now()) != nil {
			t.Fatalf("no slot with %d of 20 in flight", n)
		}
	}
	if n := l.InFlight(); n != 20 {
		t.Errorf("%d in flight, want 20", n)
	}
}
