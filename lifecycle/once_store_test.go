package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle/once"
)

// breakable is a store in memory that can be told to fail.
type breakable struct {
	*once.Memory
	fail   atomic.Pointer[error] // of Put
	deaf   atomic.Pointer[error] // of Wait
	writes atomic.Int64
}

func newStore(t *testing.T) *breakable {
	m, err := once.NewMemory(once.MemoryPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	return &breakable{Memory: m}
}

func (b *breakable) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	if err := b.fail.Load(); err != nil {
		return once.Record{}, false, *err
	}
	b.writes.Add(1)
	return b.Memory.Put(ctx, key, version, value)
}

func (b *breakable) Wait(ctx context.Context, key string, version uint64) (once.Record, error) {
	if err := b.deaf.Load(); err != nil {
		return once.Record{}, *err
	}
	return b.Memory.Wait(ctx, key, version)
}

// A record that a dead process left is not executed again.
func TestDeadProcess(t *testing.T) {
	store := newStore(t)
	inBubble(t, guard(&once.Policy{Store: store, Lease: time.Second}), func(t *testing.T, r *rig) {
		down := errors.New("the process is dead")
		r.orders.place = func(context.Context) error {
			store.fail.Store(&down)
			return nil
		}
		r.start()
		if _, err := r.place(t.Context(), "1"); err != nil {
			t.Errorf("the answer is true whether it is kept or not: %v", err)
		}
		store.fail.Store(nil)
		began := time.Now()
		if _, err := r.place(t.Context(), "1"); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "outcome unknown") {
			t.Errorf("a repeat: %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("told after %v, want the lease of 1s", took)
		}
		if n := r.orders.placed.Load(); n != 1 {
			t.Errorf("executed %d times", n)
		}
	})
}

// While the store fails calls are refused, in a way that lets any caller try elsewhere;
// or they are executed, if that was chosen.
func TestStoreFails(t *testing.T) {
	for _, anyway := range []bool{false, true} {
		store := newStore(t)
		down := errors.New("down")
		store.fail.Store(&down)
		inBubble(t, guard(&once.Policy{Store: store, ExecuteAnyway: anyway}), func(t *testing.T, r *rig) {
			r.start()
			var trailer metadata.MD
			_, err := r.place(t.Context(), "1", grpc.Trailer(&trailer))
			if anyway {
				if err != nil {
					t.Error(err)
				}
			} else if status.Code(err) != codes.Unavailable || strings.Join(trailer[wire.Unexecuted], " ") != "a1" {
				t.Errorf("%v, trailer %v", err, trailer)
			}
			if n := r.orders.placed.Load(); (n == 1) != anyway {
				t.Errorf("executed %d times", n)
			}
			if _, err := r.place(t.Context(), ""); err != nil {
				t.Errorf("without an ID: %v", err)
			}
		})
	}
}

// A call that is known to have been begun is not executed while the store fails, not even
// where calls are executed anyway.
func TestStoreFailsHalfWay(t *testing.T) {
	store := newStore(t)
	inBubble(t, guard(&once.Policy{Store: store, ExecuteAnyway: true}), func(t *testing.T, r *rig) {
		r.orders.place = func(context.Context) error { time.Sleep(time.Second); return nil }
		r.start()
		done := make(chan error)
		go func() {
			_, err := r.place(t.Context(), "1")
			done <- err
		}()
		synctest.Wait()
		down := errors.New("down")
		store.deaf.Store(&down)
		if _, err := r.place(t.Context(), "1"); status.Code(err) != codes.Unavailable {
			t.Errorf("a repeat: %v", err)
		}
		if err := <-done; err != nil || r.orders.placed.Load() != 1 {
			t.Errorf("%v, executed %d times", err, r.orders.placed.Load())
		}
	})
}
