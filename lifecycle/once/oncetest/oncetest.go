// Package oncetest tests implementations of [once.Store].
package oncetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall/lifecycle/once"
)

// patience bounds what has to come.
const patience = 10 * time.Second

// Run tests a store, under keys of its own: it may be one that others use too.
func Run(t *testing.T, store once.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, once.Store, string)
	}{
		{"a record is written where there is none", writtenOnce},
		{"a record is replaced by its version only", replaced},
		{"any bytes", anyBytes},
		{"keys are apart", apart},
		{"of many writers one wins", race},
		{"wait returns at once", waitAtOnce},
		{"wait returns at the next write", waitForWrite},
		{"wait ends with its context", waitEnds},
		{"many wait", manyWait},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, store, "/once.Test/Method/"+rand.Text())
		})
	}
}

func put(t *testing.T, store once.Store, key string, version uint64, value string) (once.Record, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	now, written, err := store.Put(ctx, key, version, []byte(value))
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return now, written
}

// mustPut writes, and returns the version.
func mustPut(t *testing.T, store once.Store, key string, version uint64, value string) uint64 {
	t.Helper()
	now, written := put(t, store, key, version, value)
	if !written || now.Version == 0 || now.Version == version || string(now.Value) != value {
		t.Fatalf("Put of %q over version %d: written %v, now %q of version %d", value, version, written, now.Value, now.Version)
	}
	return now.Version
}

// mustNotPut expects another record in the way.
func mustNotPut(t *testing.T, store once.Store, key string, version uint64, want once.Record) {
	t.Helper()
	now, written := put(t, store, key, version, "not to be written")
	if written || now.Version != want.Version || !bytes.Equal(now.Value, want.Value) {
		t.Errorf("Put over version %d: written %v, now %q of version %d; want %q of version %d in the way",
			version, written, now.Value, now.Version, want.Value, want.Version)
	}
}

func writtenOnce(t *testing.T, store once.Store, key string) {
	mustNotPut(t, store, key, 7, once.Record{})
	v := mustPut(t, store, key, 0, "a")
	mustNotPut(t, store, key, 0, once.Record{Version: v, Value: []byte("a")})
}

func replaced(t *testing.T, store once.Store, key string) {
	first := mustPut(t, store, key, 0, "a")
	second := mustPut(t, store, key, first, "b")
	mustNotPut(t, store, key, first, once.Record{Version: second, Value: []byte("b")})
	mustNotPut(t, store, key, second+1000, once.Record{Version: second, Value: []byte("b")})
	third := mustPut(t, store, key, second, "a")
	if third == first {
		t.Errorf("version %d twice", first)
	}
}

func anyBytes(t *testing.T, store once.Store, key string) {
	all := make([]byte, 64<<10)
	for i := range all {
		all[i] = byte(i * i)
	}
	v := mustPut(t, store, key, 0, string(all))
	now, err := store.Wait(t.Context(), key, v+1)
	if err != nil || now.Version != v || !bytes.Equal(now.Value, all) {
		t.Errorf("%d bytes of version %d, %v; want %d of version %d", len(now.Value), now.Version, err, len(all), v)
	}
}

func apart(t *testing.T, store once.Store, key string) {
	keys := []string{key, key + "/", key + "/a b", key + "/a%20b", key + "?x=1&y#z"}
	for n, k := range keys {
		mustPut(t, store, k, 0, fmt.Sprint(n))
	}
	for n, k := range keys {
		if now, written := put(t, store, k, 0, ""); written || string(now.Value) != fmt.Sprint(n) {
			t.Errorf("%q has %q, want %d", k, now.Value, n)
		}
	}
}

func race(t *testing.T, store once.Store, key string) {
	for version := uint64(0); ; {
		var wins atomic.Int64
		var won atomic.Uint64
		var all sync.WaitGroup
		for n := range 16 {
			all.Go(func() {
				// Never the value that is there: writing that may count for nothing.
				now, written, err := store.Put(t.Context(), key, version, fmt.Appendf(nil, "%d over %d", n, version))
				if err != nil {
					t.Errorf("Put: %v", err)
				}
				if written {
					wins.Add(1)
					won.Store(now.Version)
				}
			})
		}
		all.Wait()
		if wins.Load() != 1 {
			t.Fatalf("over version %d: %d writers won, want 1", version, wins.Load())
		}
		if version != 0 {
			return
		}
		version = won.Load()
	}
}

func waitAtOnce(t *testing.T, store once.Store, key string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if now, err := store.Wait(ctx, key, 7); err != nil || now.Version != 0 {
		t.Errorf("no record: %+v, %v; want the zero Record", now, err)
	}
	v := mustPut(t, store, key, 0, "a")
	if now, err := store.Wait(ctx, key, v+1000); err != nil || now.Version != v || string(now.Value) != "a" {
		t.Errorf("%+v, %v; want version %d", now, err, v)
	}
}

type waited struct {
	now once.Record
	err error
}

// waits begins to wait n times. What it returns is filled when those have returned.
func waits(ctx context.Context, store once.Store, key string, version uint64, n int) <-chan waited {
	all := make(chan waited, n)
	for range n {
		go func() {
			now, err := store.Wait(ctx, key, version)
			all <- waited{now, err}
		}()
	}
	return all
}

func waitForWrite(t *testing.T, store once.Store, key string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v := mustPut(t, store, key, 0, "a")
	for range 3 {
		done := waits(ctx, store, key, v, 1)
		mustPut(t, store, key+"/other", 0, fmt.Sprint(v)) // which does not concern it
		next := mustPut(t, store, key, v, fmt.Sprint("after ", v))
		if w := <-done; w.err != nil || w.now.Version != next || string(w.now.Value) != fmt.Sprint("after ", v) {
			t.Errorf("%+v, want version %d", w, next)
		}
		key, v = key+"/next", 0
		v = mustPut(t, store, key, v, "a")
	}
}

func waitEnds(t *testing.T, store once.Store, key string) {
	v := mustPut(t, store, key, 0, "a")
	ctx, cancel := context.WithCancel(t.Context())
	done := waits(ctx, store, key, v, 1)
	cancel()
	if w := <-done; !errors.Is(w.err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", w.err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if w := <-waits(ctx, store, key, v, 1); !errors.Is(w.err, context.DeadlineExceeded) {
		t.Errorf("%v, want that its time is over", w.err)
	}
}

func manyWait(t *testing.T, store once.Store, key string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const n = 20
	v := mustPut(t, store, key, 0, "a")
	done := waits(ctx, store, key, v, n)
	next := mustPut(t, store, key, v, "b")
	for range n {
		if w := <-done; w.err != nil || w.now.Version != next {
			t.Errorf("%+v, want version %d", w, next)
		}
	}
}
