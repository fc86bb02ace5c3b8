package kvstore_test

import (
	"context"
	"crypto/rand"
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

// BenchmarkPut is what the package's documentation says of writes per second.
func BenchmarkPut(b *testing.B) {
	store, _, _ := newStore(b)
	value := make([]byte, 100)
	b.SetParallelism(32) // times the processors: 64 at once on two
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := store.Put(context.Background(), rand.Text(), 0, value); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

var _ once.Store = (*kvstore.Store)(nil)
