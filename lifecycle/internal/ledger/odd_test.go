package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/lifecycle/internal/ledger"
	"github.com/surecall/surecall/lifecycle/once"
)

// The same key with another request is not answered with what the first one got.
func TestOtherRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "k")
		other := ledger.Request{'b'}
		wantOther := func(when string) {
			t.Helper()
			within(t, 0, func() {
				if c, outcome, err := b.ledger().Claim(t.Context(), "k", other); c != nil || !errors.Is(err, ledger.ErrOther) {
					t.Errorf("%s: %q, %v", when, outcome, err)
				}
			})
		}
		wantOther("running")
		_ = c.Settle(t.Context(), []byte("done"))
		wantOther("settled")

		_ = claim(t, b.ledger(), "free").Release(t.Context())
		c, _, err := b.ledger().Claim(t.Context(), "free", other)
		if c == nil || err != nil {
			t.Fatalf("of a call that was not executed nothing is kept: %v", err)
		}
		_ = c.Settle(t.Context(), nil)
	})
}

// lagging is a store whose reads lag behind: writes find another record than there is.
type lagging struct {
	shows  once.Record
	writes atomic.Int64
}

func (l *lagging) Put(context.Context, string, uint64, []byte) (once.Record, bool, error) {
	l.writes.Add(1)
	return l.shows, false, nil
}

func (l *lagging) Wait(context.Context, string, uint64) (once.Record, error) { return l.shows, nil }

// Nobody writes for ever to a store that shows what is old, or waits in vain for one that
// returns at once. One such was written to 170,000 times each second, by a call whose
// caller had gone.
func TestLaggingStore(t *testing.T) {
	running := append([]byte{1, 'r'}, asked[:]...)
	for name, shows := range map[string]once.Record{
		"nothing": {},
		"free":    {Version: 7, Value: []byte{1, 'f'}},
		"running": {Version: 7, Value: append(running, 200, 1, 0, 'x')},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lagging{shows: shows}
			var failed *ledger.StoreError
			if _, _, err := ledger.New(once.Policy{Store: l}).Claim(t.Context(), "k", asked); !errors.As(err, &failed) || failed.Untouched {
				t.Errorf("%v, want a StoreError", err)
			}
			if n := l.writes.Load(); n > 100 {
				t.Errorf("%d writes", n)
			}

			*l = lagging{shows: shows}
			ctx, cancel := context.WithCancel(t.Context())
			_, _, err := ledger.New(once.Policy{Store: leaving{l, cancel}}).Claim(ctx, "k", asked)
			if n := l.writes.Load(); !errors.Is(err, context.Canceled) || n > 1 {
				t.Errorf("its caller has gone: %v, %d writes", err, n)
			}
		})
	}
}

// leaving is a store whose first write takes longer than the caller stays.
type leaving struct {
	*lagging
	leave func()
}

func (l leaving) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	l.leave()
	return l.lagging.Put(ctx, key, version, value)
}

// A claim whose writes only seemed to fail is given back: nobody will execute the call,
// and its repeats waited for a lease and were told that its outcome is unknown.
func TestClaimsThatSeemToFailAreWithdrawn(t *testing.T) {
	for _, anyway := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBook(t)
			l := ledger.New(once.Policy{Store: &blip{book: b, fails: 2}, Lease: lease, ExecuteAnyway: anyway})
			var failed *ledger.StoreError
			if _, _, err := l.Claim(t.Context(), "k", asked); !errors.As(err, &failed) || !failed.Untouched {
				t.Fatalf("%v, want a StoreError", err)
			}
			took := time.Duration(0)
			if anyway { // the call was executed
				took = lease
			}
			within(t, took, func() {
				c, _, err := l.Claim(t.Context(), "k", asked)
				if (c == nil) != anyway || errors.Is(err, ledger.ErrUnknown) != anyway {
					t.Errorf("executed anyway %v: a repeat's claim %v, %v", anyway, c != nil, err)
				}
				if c != nil {
					_ = c.Settle(t.Context(), nil)
				}
			})
			// What is another's stays.
			c := claim(t, l, "other")
			mine, _ := b.Wait(t.Context(), "other", 0)
			shy := ledger.New(once.Policy{Store: &blip{book: b, fails: 2}, Lease: lease})
			if _, _, err := shy.Claim(t.Context(), "other", asked); !errors.As(err, &failed) {
				t.Errorf("%v, want a StoreError", err)
			}
			if now, _ := b.Wait(t.Context(), "other", 0); now.Version != mine.Version {
				t.Error("another's record was withdrawn")
			}
			_ = c.Settle(t.Context(), nil)
		})
	}
}

// blip is a store whose first writes are done and not answered.
type blip struct {
	*book
	fails int
}

func (b *blip) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	now, written, err := b.book.Put(ctx, key, version, value)
	if b.fails--; b.fails >= 0 {
		return once.Record{}, false, errDown
	}
	return now, written, err
}

// A store that takes the writing of what is there for none, as Consul does, tells who
// waits of each renewal all the same.
func TestRenewalsAreAllDifferent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idle{newBook(t)}
		l := ledger.New(once.Policy{Store: b, Lease: lease})
		c := claim(t, l, "k")
		time.AfterFunc(3*lease, func() { _ = c.Settle(t.Context(), []byte("done")) })
		within(t, 3*lease, func() { wantOutcome(t, l, "k", "done") })
	})
}

type idle struct{ *book }

func (i idle) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	if version != 0 {
		if now, err := i.Wait(ctx, key, version+1); err != nil || now.Version == version && bytes.Equal(now.Value, value) {
			return now, err == nil, err
		}
	}
	return i.book.Put(ctx, key, version, value)
}

// A store that refuses an outcome is given another one.
func TestSettleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "k")
		b.down(errDown, false)
		if err := c.Settle(t.Context(), []byte("large")); !errors.Is(err, errDown) {
			t.Errorf("%v", err)
		}
		b.down(nil, false)
		if err := c.Settle(t.Context(), []byte("small")); err != nil {
			t.Error(err)
		}
		wantOutcome(t, b.ledger(), "k", "small")
	})
}
