package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/surecall/surecall/lifecycle/once"
)

// Ledger hands out claims. It is safe for concurrent use.
type Ledger struct {
	policy once.Policy
}

// New returns a ledger by a valid policy.
func New(p once.Policy) *Ledger { return &Ledger{policy: p.WithDefaults()} }

// ErrUnknown says that a call was begun and that nobody knows what came of it.
var ErrUnknown = errors.New("outcome unknown: whoever began to execute it is not heard of any more")

// StoreError says that the store failed.
type StoreError struct {
	Err error
	// Untouched says that nothing is known to have been begun under the key.
	Untouched bool
}

func (e *StoreError) Error() string { return e.Err.Error() }
func (e *StoreError) Unwrap() error { return e.Err }

// ErrOther says that the key belongs to another request.
var ErrOther = errors.New("it came with another request before")

// Claim returns a claim, whose owner is to execute the call and to settle; or else the
// outcome. While somebody else executes the call it waits, until ctx ends; a claim that it
// has by then it returns all the same. Its error is ErrUnknown, ErrOther, a *StoreError,
// or ctx's.
func (l *Ledger) Claim(ctx context.Context, key string, asked Request) (*Claim, []byte, error) {
	c := &Claim{ledger: l, key: key, owner: rand.Text(), asked: asked}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	now, written, err := l.put(ctx, key, 0, c.running())
	if err != nil {
		if !l.policy.ExecuteAnyway { // then it is executed, and repeats are not to be
			c.withdraw(ctx)
		}
		return nil, nil, &StoreError{Err: err, Untouched: true}
	}
	for tries := 1; ; {
		if written {
			c.begin(now.Version)
			return c, nil, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		e := entry{state: free} // given up by the store at this very moment
		if now.Version != 0 {
			if e, err = parse(now.Value); err != nil {
				return nil, nil, &StoreError{Err: fmt.Errorf("%q: %w", key, err)}
			}
		}
		switch {
		case e.state == running && e.owner == c.owner: // by a write that seemed to have failed
			written = true
		case e.state != free && e.request != asked:
			return nil, nil, ErrOther
		case e.state == settled:
			return nil, e.outcome, nil
		case e.state == running:
			now, err = l.await(ctx, key, now.Version, e)
		case tries == maxClaims:
			return nil, nil, &StoreError{Err: fmt.Errorf("%q: %d writes met another record than the one before had left: a store must not show old ones", key, tries)}
		default:
			tries++
			if now, written, err = l.put(ctx, key, now.Version, c.running()); err != nil {
				c.withdraw(ctx)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrUnknown):
			return nil, nil, err
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		default:
			return nil, nil, &StoreError{Err: err}
		}
	}
}

// maxClaims is how often a record is found free and then is not. By chance it takes as
// many other callers that give the same call up, one after the other.
const maxClaims = 100

// await returns the next version of a running record.
func (l *Ledger) await(ctx context.Context, key string, version uint64, e entry) (once.Record, error) {
	within, cancel := context.WithTimeout(ctx, e.lease)
	defer cancel()
	now, err := l.policy.Store.Wait(within, key, version)
	switch {
	case err != nil && within.Err() != nil && ctx.Err() == nil:
		return now, ErrUnknown
	case err == nil && now.Version == version:
		return now, fmt.Errorf("%q: the store waited for another version than %d and returned that", key, version)
	}
	return now, err
}

// put writes to the store, whatever becomes of ctx: who gives up half-way does not know
// whether it has written, and a claim that nobody knows of is never settled. For the same
// reason it tries again.
func (l *Ledger) put(ctx context.Context, key string, version uint64, value []byte) (now once.Record, written bool, err error) {
	for range writeTries {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.policy.StoreTimeout)
		now, written, err = l.policy.Store.Put(within, key, version, value)
		cancel()
		if err == nil {
			break
		}
	}
	return now, written, err
}

const writeTries = 2
