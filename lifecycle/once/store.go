package once

import (
	"context"
	"time"
)

// Store keeps records under keys. Its methods are called by many goroutines at once, of
// several processes if it is shared. See the package's documentation for how to write one.
type Store interface {
	// Put writes value under key if the record that is there has version; version 0 says
	// that there is none. It returns whether it did, and the record that is there now: the
	// one written, or else the one in the way, which is the zero Record if there is none.
	//
	// An error says that nobody knows whether it was written. ctx has a deadline of
	// [Policy].StoreTimeout, and does not end before when a caller goes. The value is not
	// changed afterwards, by neither side.
	Put(ctx context.Context, key string, version uint64, value []byte) (now Record, written bool, err error)

	// Wait returns the record under key as soon as its version is another than version;
	// the zero Record if there is none any more. It returns ctx's error when ctx ends
	// before. A store that cannot be told of changes looks for them every now and then.
	Wait(ctx context.Context, key string, version uint64) (Record, error)
}

// Keeper is a [Store] that says how long it keeps a record at least after it was last
// written, so that [Policy].Validate can compare: the record of a call that runs is
// written each Lease/3, and without it the call would be executed again.
type Keeper interface {
	Store
	Keeps() time.Duration
}

// Record is what a store has under a key.
type Record struct {
	// Version is given by the store: never 0, and another one at each write of the key; a
	// store may take the writing of the value that is there for none.
	Version uint64
	// Value means nothing to the store.
	Value []byte
}
