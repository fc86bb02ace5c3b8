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

// Claim returns a claim, whose owner is to execute the call and to settle; or else the
// outcome. While somebody else executes the call it waits. Its error is ErrUnknown, a
// *StoreError, or that of ctx.
func (l *Ledger) Claim(ctx context.Context, key string) (*Claim, []byte, error) {
	c := &Claim{ledger: l, key: key, owner: rand.Text()}
	now, written, err := l.put(ctx, key, 0, c.running())
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			return nil, nil, ended
		}
		return nil, nil, &StoreError{Err: err, Untouched: true}
	}
	for {
		if written {
			c.begin(now.Version)
			return c, nil, nil
		}
		if now.Version == 0 { // given up by the store at this very moment
			now, written, err = l.put(ctx, key, 0, c.running())
		} else {
			var e entry
			if e, err = parse(now.Value); err != nil {
				return nil, nil, &StoreError{Err: fmt.Errorf("%q: %w", key, err)}
			}
			switch {
			case e.state == settled:
				return nil, e.outcome, nil
			case e.state == free:
				now, written, err = l.put(ctx, key, now.Version, c.running())
			case e.owner == c.owner: // a store that tried twice found what it had written
				written = true
			default:
				now, err = l.await(ctx, key, now.Version, e)
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

// await returns the next version of a running record.
func (l *Ledger) await(ctx context.Context, key string, version uint64, e entry) (once.Record, error) {
	within, cancel := context.WithTimeout(ctx, e.lease)
	defer cancel()
	now, err := l.policy.Store.Wait(within, key, version)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return now, ErrUnknown
	}
	return now, err
}

// put writes to the store in bounded time.
func (l *Ledger) put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.policy.StoreTimeout)
	defer cancel()
	return l.policy.Store.Put(ctx, key, version, value)
}
