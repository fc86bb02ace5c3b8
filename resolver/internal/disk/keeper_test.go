package disk

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// keep runs a keeper until the end of the test, or until stop.
func keep(t *testing.T, s Store) (k *Keeper, stop func(), reported func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	k = NewKeeper(s, func(Identity, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return k, stop, func() int {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// TestWritesAreFew: of a hundred changes in ten seconds a handful is written, the last
// among them.
func TestWritesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store(t)
		k, _, reported := keep(t, s)
		seen := map[time.Time]bool{}
		look := func() {
			if got, err := s.Load(orders, time.Now()); err == nil {
				seen[got.Written.UTC()] = true
			}
		}
		var last time.Time
		for range 100 {
			last = time.Now()
			k.Put(orders, Snapshot{last, set})
			time.Sleep(100 * time.Millisecond)
			look()
		}
		time.Sleep(writeDelay + writeJitter)
		look()
		if len(seen) < 2 || len(seen) > 6 || !seen[last.UTC()] {
			t.Errorf("%d writes, the last one written: %v", len(seen), seen[last.UTC()])
		}
		if n := reported(); n != 0 {
			t.Errorf("%d problems", n)
		}
	})
}

// TestEndWrites: what waits is written at the end, without the wait.
func TestEndWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store(t)
		k, stop, _ := keep(t, s)
		k.Put(orders, Snapshot{time.Now(), set})
		synctest.Wait()
		if _, err := os.Stat(s.Dir); err == nil {
			t.Error("it was written at once")
		}
		begin := time.Now()
		stop()
		if _, err := s.Load(orders, time.Now()); err != nil || time.Since(begin) != 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// TestTroubleIsToldOnce: and again only after it was over.
func TestTroubleIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store(t)
		s.Dir = filepath.Dir(s.Dir)
		k, _, reported := keep(t, s)
		put := func() {
			k.Put(orders, Snapshot{time.Now(), set})
			time.Sleep(writeDelay + writeJitter)
		}
		block := func() {
			if err := os.WriteFile(s.Dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		block()
		put()
		put()
		if n := reported(); n != 1 {
			t.Errorf("reported %d times, want once", n)
		}
		if err := os.Remove(s.Dir); err != nil {
			t.Fatal(err)
		}
		put()
		if _, err := s.Load(orders, time.Now()); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(s.Dir); err != nil {
			t.Fatal(err)
		}
		block()
		put()
		if n := reported(); n != 2 {
			t.Errorf("reported %d times, want twice", n)
		}
	})
}
