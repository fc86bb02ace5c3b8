package surecall

import (
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/status"
)

// Whenever they are read, counters have not fallen: rates would be taken of them anew.
func TestCountersOnlyRise(t *testing.T) {
	var (
		count tally
		calls sync.WaitGroup
	)
	for range 2 {
		calls.Go(func() {
			for n := range 20_000 {
				if n%4 == 0 {
					count.made(1)
					count.end(nil, codes.OK)
				} else {
					count.made(0)
					count.end(ErrNoInstance, codes.Unavailable)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		calls.Wait()
		close(done)
	}()
	var before status.Method
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		var m status.Method
		count.read(&m)
		if m.Attempts < before.Attempts || m.Calls["OK"] < before.Calls["OK"] || m.Calls["UNAVAILABLE"] < before.Calls["UNAVAILABLE"] {
			t.Fatalf("%+v after %+v", m, before)
		}
		before = m
	}
	if before.Attempts != 10_000 || before.Calls["OK"] != 10_000 || before.Calls["UNAVAILABLE"] != 30_000 {
		t.Errorf("%+v in the end", before)
	}
}
