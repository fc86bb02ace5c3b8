package ledger

import (
	"bytes"
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// Claim is the right to execute a call, and the duty to say what came of it: by Settle
// or Release, and again by Settle if that failed. It renews its record until then.
type Claim struct {
	ledger *Ledger
	key    string
	owner  string
	asked  Request

	mu      sync.Mutex // held while the store is written to
	version uint64
	beats   uint64      // renewals tried
	renewal *time.Timer // nil: over
}

// running returns the record's value while the call is executed: each time another one,
// since a store may take the writing of what is there for none.
func (c *Claim) running() []byte {
	return runningValue(c.asked, c.ledger.policy.Lease, c.beats, c.owner)
}

// begin starts the renewals of a record that was written.
func (c *Claim) begin(version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
	c.renewal = time.AfterFunc(c.ledger.policy.Lease/3, c.renew)
}

func (c *Claim) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.renewal == nil {
		return
	}
	c.beats++
	_ = c.put(context.Background(), c.running()) // the next one may succeed, and what counts is Settle
	c.renewal.Reset(c.ledger.policy.Lease / 3)
}

// Settle keeps the outcome for all that come with the same key. It does so also if ctx
// has ended, and waits for a renewal that is under way.
func (c *Claim) Settle(ctx context.Context, outcome []byte) error {
	return c.end(ctx, settledValue(c.asked, outcome))
}

// Release lets whoever comes next execute the call.
func (c *Claim) Release(ctx context.Context) error { return c.end(ctx, freeValue()) }

func (c *Claim) end(ctx context.Context, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.renewal != nil {
		c.renewal.Stop()
		c.renewal = nil
	}
	return c.put(ctx, value)
}

// withdraw frees the record of a claim that nobody got, in case that its writes only
// seemed to fail: else repeats of a call that never ran would be told that nobody knows
// what became of it. It does what it can in the time that one write has.
func (c *Claim) withdraw(ctx context.Context) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ledger.policy.StoreTimeout)
	defer cancel()
	store := c.ledger.policy.Store
	now, err := store.Wait(within, c.key, math.MaxUint64) // whatever version is there
	if err != nil {
		return
	}
	if e, err := parse(now.Value); err == nil && e.state == running && e.owner == c.owner {
		_, _, _ = store.Put(within, c.key, now.Version, freeValue())
	}
}

var errLost = errors.New("the record is somebody else's by now: the store gave it up while the call was executed")

// put writes a value in place of the record. It requires mu.
func (c *Claim) put(ctx context.Context, value []byte) error {
	for range 2 {
		now, written, err := c.ledger.put(ctx, c.key, c.version, value)
		switch {
		case err != nil:
			return err
		case written || now.Version != 0 && bytes.Equal(now.Value, value): // by a write that seemed to have failed
			c.version = now.Version
			return nil
		case now.Version == 0: // given up, and in nobody's hands
		default:
			// A write that failed may have been one.
			if e, err := parse(now.Value); err != nil || e.state != running || e.owner != c.owner {
				return errLost
			}
		}
		c.version = now.Version
	}
	return errLost
}
