package ledger_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/lifecycle/internal/ledger"
	"github.com/surecall/surecall/lifecycle/once"
)

const lease = 3 * time.Second

var asked = ledger.Request{'a'}

// book is a store in memory whose writes can be made to fail.
type book struct {
	*once.Memory
	mu     sync.Mutex
	fail   error // of Put
	apply  bool  // and yet it is written
	writes atomic.Int64
}

var errDown = errors.New("store down")

func newBook(t *testing.T) *book {
	m, err := once.NewMemory(once.MemoryPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	return &book{Memory: m}
}

func (b *book) down(err error, apply bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.apply = err, apply
}

func (b *book) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	b.mu.Lock()
	fail, apply := b.fail, b.apply
	b.mu.Unlock()
	if fail != nil && !apply {
		return once.Record{}, false, fail
	}
	b.writes.Add(1)
	now, written, err := b.Memory.Put(ctx, key, version, value)
	if fail != nil {
		return once.Record{}, false, fail
	}
	return now, written, err
}

func (b *book) ledger() *ledger.Ledger {
	return ledger.New(once.Policy{Store: b, Lease: lease, StoreTimeout: time.Second})
}

// claim returns the claim on a key that nobody has.
func claim(t *testing.T, l *ledger.Ledger, key string) *ledger.Claim {
	t.Helper()
	c, outcome, err := l.Claim(t.Context(), key, asked)
	if c == nil || err != nil {
		t.Fatalf("no claim: outcome %q, error %v", outcome, err)
	}
	return c
}

// wantOutcome expects the key to be settled, or to become so.
func wantOutcome(t *testing.T, l *ledger.Ledger, key, want string) {
	t.Helper()
	if c, outcome, err := l.Claim(t.Context(), key, asked); c != nil || err != nil || string(outcome) != want {
		t.Errorf("claim %v, outcome %q, error %v; want outcome %q", c != nil, outcome, err, want)
	}
}

// within fails the test if do takes other than d.
func within(t *testing.T, d time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took != d {
		t.Errorf("took %v, want %v", took, d)
	}
}

// Two ledgers share a book: what the one has settled the other answers.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		if err := claim(t, b.ledger(), "k").Settle(t.Context(), []byte("done")); err != nil {
			t.Fatal(err)
		}
		within(t, 0, func() { wantOutcome(t, b.ledger(), "k", "done") })
		claim(t, b.ledger(), "other").Release(t.Context())
	})
}

// Who comes while a call is executed waits for it, however many leases it takes.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "k")
		const takes = 5*lease + time.Millisecond
		time.AfterFunc(takes, func() { _ = c.Settle(t.Context(), []byte("done")) })
		within(t, takes, func() {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() { wantOutcome(t, b.ledger(), "k", "done") })
			}
			all.Wait()
		})
		if n := b.writes.Load(); n != 1+15+10+1 {
			t.Errorf("%d writes, want those of 11 claims, a renewal each third of the lease and the end", n)
		}
	})
}

// Who waits does so for as long as it has itself.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "k")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		within(t, time.Second, func() {
			if _, _, err := b.ledger().Claim(ctx, "k", asked); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		})
		_ = c.Settle(t.Context(), nil)
	})
}

// Whoever renews nothing for a lease is taken for dead; nobody executes in its place, and
// what it says later counts.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "k")
		b.down(errDown, false) // for the renewals
		time.Sleep(lease)
		b.down(nil, false)
		time.Sleep(lease/3 - time.Millisecond) // just before it renews again
		b.down(errDown, false)
		defer b.down(nil, false)
		reader := ledger.New(once.Policy{Store: b.Memory, Lease: time.Hour}) // whose lease is not the one that counts
		for range 2 {
			within(t, lease, func() {
				if _, _, err := reader.Claim(t.Context(), "k", asked); !errors.Is(err, ledger.ErrUnknown) {
					t.Errorf("error %v", err)
				}
			})
		}
		b.down(nil, false)
		if err := c.Settle(t.Context(), []byte("late")); err != nil {
			t.Error(err)
		}
		wantOutcome(t, reader, "k", "late")
	})
}

// What is released is executed by one of those who wait, and by no other.
func TestReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "k")
		var executed atomic.Int64
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				c, outcome, err := b.ledger().Claim(t.Context(), "k", asked)
				if c != nil {
					executed.Add(1)
					time.Sleep(time.Second)
					err = c.Settle(t.Context(), []byte("done"))
					outcome = []byte("done")
				}
				if err != nil || string(outcome) != "done" {
					t.Errorf("%q, %v", outcome, err)
				}
			})
		}
		time.Sleep(time.Second)
		if err := c.Release(t.Context()); err != nil {
			t.Error(err)
		}
		all.Wait()
		if executed.Load() != 1 {
			t.Errorf("executed %d times", executed.Load())
		}
	})
}

// A store that fails is told apart by whether the call may have been begun.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		wantStoreError := func(untouched bool) {
			t.Helper()
			_, _, err := b.ledger().Claim(t.Context(), "k", asked)
			var failed *ledger.StoreError
			if !errors.As(err, &failed) || failed.Untouched != untouched {
				t.Errorf("%#v, want a StoreError, untouched %v", err, untouched)
			}
		}
		b.down(errDown, false)
		wantStoreError(true)
		b.down(nil, false)
		now, _, _ := b.Memory.Put(t.Context(), "k", 0, []byte("what is this"))
		wantStoreError(false)
		if _, _, err := b.Memory.Put(t.Context(), "k", now.Version, []byte{1, 'x'}); err != nil {
			t.Fatal(err)
		}
		wantStoreError(false)

		c := claim(t, b.ledger(), "end")
		b.down(errDown, false)
		if err := c.Settle(t.Context(), nil); !errors.Is(err, errDown) {
			t.Errorf("Settle: %v", err)
		}
	})
}

// A write that seemed to fail, and did not, costs no claim its outcome.
func TestWritesThatSeemToFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		c := claim(t, b.ledger(), "renewed")
		b.down(errDown, true)
		time.Sleep(lease) // three renewals of which it does not know the versions
		b.down(nil, false)
		if err := c.Settle(t.Context(), []byte("done")); err != nil {
			t.Error(err)
		}
		wantOutcome(t, b.ledger(), "renewed", "done")

		c = claim(t, ledger.New(once.Policy{Store: &mute{book: b}, Lease: lease}), "claimed")
		if err := c.Settle(t.Context(), []byte("done")); err != nil {
			t.Error(err)
		}
		wantOutcome(t, b.ledger(), "claimed", "done")
	})
}

// mute is a store that writes and then does not answer, at every other write.
type mute struct {
	*book
	puts int
}

func (m *mute) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	now, written, err := m.book.Put(ctx, key, version, value)
	if m.puts++; m.puts%2 == 1 {
		<-ctx.Done()
		return once.Record{}, false, ctx.Err()
	}
	return now, written, err
}

// A caller that goes while its claim is written leaves no record that nobody settles. In
// Consul's KV, calls were lost by that: the record was written, and the claim given up.
func TestCallerGoesDuringTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		l := ledger.New(once.Policy{Store: slow{b}, Lease: lease})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		c, _, err := l.Claim(ctx, "k", asked)
		if c == nil || err != nil {
			t.Fatalf("no claim: %v", err)
		}
		if err := c.Settle(ctx, []byte("done")); err != nil {
			t.Error(err)
		}
		wantOutcome(t, l, "k", "done")

		if _, _, err := l.Claim(ctx, "never", asked); !errors.Is(err, context.DeadlineExceeded) || b.Status().Records != 1 {
			t.Errorf("a call that is over was begun: %v, %d records", err, b.Status().Records)
		}
	})
}

// slow is a store that takes 100 ms for each write, and then has written.
type slow struct{ *book }

func (s slow) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	now, written, err := s.book.Put(ctx, key, version, value)
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return now, written, err
	case <-ctx.Done():
		return once.Record{}, false, ctx.Err()
	}
}

// A record that the store gives up while the call is executed is written anew; one that
// somebody else has by then is left alone.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small, err := once.NewMemory(once.MemoryPolicy{MaxRecords: 1, Keep: 1})
		if err != nil {
			t.Fatal(err)
		}
		l := ledger.New(once.Policy{Store: small, Lease: time.Hour})
		flood := func(key string) {
			time.Sleep(1)
			if _, _, err := small.Put(t.Context(), key, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
		c := claim(t, l, "k")
		flood("another")
		time.Sleep(1)
		if err := c.Settle(t.Context(), []byte("done")); err != nil {
			t.Error(err)
		}
		wantOutcome(t, l, "k", "done")

		time.Sleep(1)
		c = claim(t, l, "k2")
		flood("another")
		time.Sleep(1)
		second := claim(t, l, "k2")
		if err := c.Settle(t.Context(), []byte("done")); err == nil {
			t.Error("settled what is another's")
		}
		_ = second.Settle(t.Context(), nil)
	})
}
