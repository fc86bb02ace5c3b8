package surecall

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type heavy struct{ load []byte }

func (*heavy) Error() string { return "light" }

// What the flight recorder keeps is small whatever the call met.
func TestRecordedCallsAreSmall(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	e := &Explanation{observer: struct{ CallObserver }{}}
	e.Call.Err = &heavy{make([]byte, 1<<20)}
	for n := range 1000 {
		e.Call.Attempts = append(e.Call.Attempts, AttemptTrace{Number: n + 1, Err: status.Error(codes.Unavailable, huge)})
	}
	refused := &Rejection{Reason: ErrNoInstance, LastErr: errors.New(huge)}
	e.Call.Attempts = append(e.Call.Attempts, AttemptTrace{Number: 1001, Err: refused})

	b := e.bounded()
	last := b.Call.Attempts[len(b.Call.Attempts)-1]
	if n := len(b.Call.Attempts); n != maxRecordedAttempts || last.Number != 1001 || !errors.Is(last.Err, ErrNoInstance) {
		t.Errorf("%d attempts, the last %+v: want the last %d", n, last, maxRecordedAttempts)
	}
	for _, a := range b.Call.Attempts {
		if len(a.Err.Error()) > 1000 || status.Code(a.Err) != codes.Unavailable {
			t.Fatalf("attempt %d: %d bytes, %v", a.Number, len(a.Err.Error()), status.Code(a.Err))
		}
	}
	var h *heavy
	if b.observer != nil || errors.As(b.Call.Err, &h) || !strings.Contains(b.Call.Err.Error(), "light") {
		t.Errorf("kept %#v: want its text only", b.Call.Err)
	}
	if len(refused.LastErr.Error()) != len(huge) || len(e.Call.Attempts) != 1001 {
		t.Error("what the caller has was changed")
	}
}
