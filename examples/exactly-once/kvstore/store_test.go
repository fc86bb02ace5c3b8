package kvstore_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/examples/exactly-once/kvstore"
	"github.com/surecall/surecall/internal/consultest"
	"github.com/surecall/surecall/lifecycle/once"
	"github.com/surecall/surecall/lifecycle/once/oncetest"
)

func newStore(t testing.TB) (*kvstore.Store, *consultest.Agent, *api.Client) {
	t.Helper()
	agent := consultest.Start(t)
	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	store, err := kvstore.New(client, "surecall/once", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return store, agent, client
}

func TestStoreOnConsul(t *testing.T) {
	store, _, _ := newStore(t)
	oncetest.Run(t, store)
}

// Records go with their session, at once, also those that were replaced since.
func TestExpiryOnConsul(t *testing.T) {
	store, _, client := newStore(t)
	first, _, err := store.Put(t.Context(), "a", 0, []byte("running"))
	if err != nil {
		t.Fatal(err)
	}
	second, written, err := store.Put(t.Context(), "a", first.Version, []byte("settled"))
	if !written || err != nil {
		t.Fatal(written, err)
	}
	sessions, _, err := client.Session().List(nil)
	if err != nil || len(sessions) != 1 || sessions[0].TTL != "2m0s" || sessions[0].Behavior != "delete" {
		t.Fatalf("%d sessions, %v; want one of 2m that deletes", len(sessions), err)
	}
	if _, err := client.Session().Destroy(sessions[0].ID, nil); err != nil { // as its expiry does
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if now, err := store.Wait(ctx, "a", second.Version); err != nil || now.Version != 0 {
		t.Errorf("%+v, %v; want it gone", now, err)
	}
	// The store notices that its session is gone, and makes another.
	if _, written, err := store.Put(t.Context(), "b", 0, nil); written || err == nil {
		t.Errorf("written %v, %v; want an error, since nobody would delete it", written, err)
	}
	if _, written, err := store.Put(t.Context(), "b", 0, nil); !written || err != nil {
		t.Errorf("written %v, %v", written, err)
	}
}

// A record goes with the session of whoever wrote it last. It went with the first one's:
// a call that was executed for longer than four times ttl lost its record, though it
// renewed it all the time, and then nobody could write one for 15 s.
func TestWritesKeepARecordOnConsul(t *testing.T) {
	store, _, client := newStore(t)
	another, err := kvstore.New(client, "surecall/once", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := store.Put(t.Context(), "a", 0, []byte("running"))
	if err != nil {
		t.Fatal(err)
	}
	born := onlySession(t, client)
	second, written, err := another.Put(t.Context(), "a", first.Version, []byte("running on"))
	if !written || err != nil {
		t.Fatal(written, err)
	}
	if _, err := client.Session().Destroy(born, nil); err != nil { // as its expiry does
		t.Fatal(err)
	}
	third, written, err := another.Put(t.Context(), "a", second.Version, []byte("settled"))
	if !written || err != nil {
		t.Errorf("written %v, %v; it is there: %+v", written, err, third)
	}
	if _, err := client.Session().Destroy(onlySession(t, client), nil); err != nil {
		t.Fatal(err)
	}
	if now, err := another.Wait(t.Context(), "a", third.Version); err != nil || now.Version != 0 {
		t.Fatalf("%+v, %v; want it gone with the session of its last write", now, err)
	}
	fresh, err := kvstore.New(client, "surecall/once", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, written, err := fresh.Put(t.Context(), "a", 0, []byte("anew")); !written || err != nil {
		t.Errorf("written %v, %v; want that it can be written anew", written, err)
	}
}

func onlySession(t *testing.T, client *api.Client) string {
	t.Helper()
	sessions, _, err := client.Session().List(nil)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v; want one", len(sessions), err)
	}
	return sessions[0].ID
}

// A write that is refused for another reason than its session makes no new session: each
// made one, and each stayed for minutes.
func TestRefusedWritesMakeNoSessionsOnConsul(t *testing.T) {
	store, _, client := newStore(t)
	if _, _, err := store.Put(t.Context(), "a", 0, nil); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("b"))
	foreign, _, err := client.Session().CreateNoChecks(&api.SessionEntry{Behavior: api.SessionBehaviorDelete, LockDelay: time.Minute}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := client.KV().Acquire(&api.KVPair{Key: "surecall/once/" + hex.EncodeToString(sum[:]), Session: foreign}, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := client.Session().Destroy(foreign, nil); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, written, err := store.Put(t.Context(), "b", 0, nil); written || err == nil {
			t.Errorf("written %v, %v; want that it is refused", written, err)
		}
	}
	onlySession(t, client)
}

// A Consul that does not answer is an error, and what it had is there when it is back.
func TestAbsenceOnConsul(t *testing.T) {
	store, agent, _ := newStore(t)
	now, _, err := store.Put(t.Context(), "a", 0, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, written, err := store.Put(ctx, "b", 0, nil); written || err == nil {
		t.Errorf("written %v, %v", written, err)
	}
	if _, err := store.Wait(ctx, "a", now.Version); err == nil {
		t.Error("Wait: no error")
	}
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	if same, written, err := store.Put(t.Context(), "a", 0, nil); written || err != nil || same.Version != now.Version {
		t.Errorf("%+v, %v, %v", same, written, err)
	}
}

func TestArguments(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Second, 13 * time.Hour} {
		if _, err := kvstore.New(nil, "p", ttl); err == nil {
			t.Errorf("ttl %v: no error", ttl)
		}
	}
	if _, err := kvstore.New(nil, "", time.Minute); err == nil {
		t.Error("no prefix: no error")
	}
}

// BenchmarkCalls is what the package's documentation says of calls per second.
func BenchmarkCalls(b *testing.B) {
	store, _, _ := newStore(b)
	value := make([]byte, 100)
	b.SetParallelism(32) // times the processors: 64 at once on two
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := rand.Text()
			now, _, err := store.Put(context.Background(), key, 0, []byte("running"))
			if err == nil {
				_, _, err = store.Put(context.Background(), key, now.Version, value)
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

var _ once.Keeper = (*kvstore.Store)(nil)
