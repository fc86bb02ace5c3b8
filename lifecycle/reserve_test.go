package lifecycle_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

func TestReserve(t *testing.T) {
	for _, test := range []struct{ left, d, want time.Duration }{
		{10 * time.Second, time.Second, 9 * time.Second},
		{2 * time.Second, time.Second, time.Second},
		{time.Second, time.Second, 500 * time.Millisecond},
		{time.Second, time.Hour, 500 * time.Millisecond},
		{time.Second, 0, time.Second},
		{time.Second, -time.Second, time.Second},
		{0, time.Second, 0},
		{-time.Second, time.Second, -time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), test.left)
			defer cancel()
			reserved, cancel := lifecycle.Reserve(ctx, test.d)
			defer cancel()
			deadline, ok := reserved.Deadline()
			if got := time.Until(deadline); !ok || got != test.want {
				t.Errorf("%v reserved of %v: %v is left, want %v", test.d, test.left, got, test.want)
			}
			if test.left <= 0 && reserved.Err() == nil {
				t.Error("a context that is over was revived")
			}
			cancel()
			if reserved.Err() == nil {
				t.Error("cancel does not end it")
			}
		})
	}
}

// Whoever asks why the time is over is told that it is not all of the caller's.
func TestReserveSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reserved, cancel := lifecycle.Reserve(ctx, time.Second)
		defer cancel()
		<-reserved.Done()
		if why := context.Cause(reserved); !strings.Contains(why.Error(), "reserved") || ctx.Err() != nil {
			t.Errorf("ended because of %q, the whole: %v", why, ctx.Err())
		}
	})
}

func TestReserveWithoutDeadline(t *testing.T) {
	ctx, cancel := lifecycle.Reserve(t.Context(), time.Second)
	if deadline, ok := ctx.Deadline(); ok {
		t.Errorf("deadline %v", deadline)
	}
	cancel()
	if ctx.Err() == nil {
		t.Error("cancel does not end it")
	}
}

// The callee sees what its caller has left, and what a handler calls sees less by what
// passed on the way and by what the handler keeps for itself.
func TestDeadlinesThroughAChain(t *testing.T) {
	const (
		given    = 10 * time.Second
		works    = 2 * time.Second
		keeps    = time.Second
		rounding = time.Millisecond // of what gRPC sends
	)
	inChain(t, func(t *testing.T, front, back *rig) {
		left := func(ctx context.Context, want time.Duration) {
			t.Helper()
			deadline, ok := ctx.Deadline()
			if got := time.Until(deadline); !ok || got > want || got < want-rounding {
				t.Errorf("%v is left, want %v", got, want)
			}
		}
		back.orders.get = func(ctx context.Context) error {
			left(ctx, given-works-keeps)
			<-ctx.Done() // it hangs
			return ctx.Err()
		}
		front.orders.get = func(ctx context.Context) error {
			left(ctx, given)
			time.Sleep(works)
			ctx, cancel := lifecycle.Reserve(ctx, keeps)
			defer cancel()
			_, err := back.client.Get(ctx, &orders.GetRequest{})
			if status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("%v, want that its time is over", err)
			}
			return status.Error(codes.Unavailable, "stock does not answer")
		}
		ctx, cancel := context.WithTimeout(t.Context(), given)
		defer cancel()
		began := time.Now()
		_, err := front.client.Get(ctx, &orders.GetRequest{})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("the caller got %v, want the handler's own answer", err)
		}
		if took := time.Since(began); took > given-keeps || took < given-keeps-2*rounding {
			t.Errorf("answered after %v", took)
		}
	})
}
