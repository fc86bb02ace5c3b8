package disk

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// How long a snapshot waits to be written: a fleet that comes or goes changes many times
// a second, and the processes of a host learn of it in the same instant.
const (
	writeDelay  = 2 * time.Second
	writeJitter = 2 * time.Second
)

// Keeper writes snapshots in the background. Put never waits for a disk.
type Keeper struct {
	store  Store
	report func(Identity, error)
	wake   chan struct{} // of capacity 1: there is something to write

	mu      sync.Mutex
	pending map[string]entry // by file
}

type entry struct {
	id       Identity
	snapshot Snapshot
}

// NewKeeper returns a keeper, which does nothing before Run. report is told, on the
// goroutine of Run, of what could not be written; once, until something else is wrong.
func NewKeeper(s Store, report func(Identity, error)) *Keeper {
	return &Keeper{store: s, report: report, wake: make(chan struct{}, 1), pending: make(map[string]entry)}
}

// Put has s written within 4 s, unless another follows, or when Run ends.
func (k *Keeper) Put(id Identity, s Snapshot) {
	k.mu.Lock()
	k.pending[id.file()] = entry{id, s}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends, and then what is left.
func (k *Keeper) Run(ctx context.Context) {
	trouble := make(map[string]string) // by file: what was last reported
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-k.wake:
			pause(ctx, writeDelay+rand.N(writeJitter))
		}
		k.flush(trouble)
	}
}

func (k *Keeper) flush(trouble map[string]string) {
	k.mu.Lock()
	pending := maps.Clone(k.pending)
	clear(k.pending)
	k.mu.Unlock()
	for file, e := range pending {
		err := k.store.Save(e.id, e.snapshot)
		if err == nil {
			delete(trouble, file)
			continue
		}
		if text := err.Error(); trouble[file] != text {
			trouble[file] = text
			k.report(e.id, err)
		}
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
