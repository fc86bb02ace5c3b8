package mbobakov_test

import (
	"testing"

	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/mbobakov"
)

// What the old client loses, the new one does not: else the tests would show nothing.
func TestBeforeLosesACall(t *testing.T) {
	f := fleet.Start(t, 3)
	conn, err := mbobakov.Before("consul://" + f.Agent + "/orders?healthy=true&wait=14s")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if o := f.KillOne(t, conn); o.Failed == 0 {
		t.Error("no call failed, though one was under way on the instance that was killed")
	}
}

// Both live in one process: what the old import registered for all of gRPC does not touch
// a surecall client.
func TestAfterSurvivesAKillBesideBefore(t *testing.T) {
	f := fleet.Start(t, 3)
	target := "consul://" + f.Agent + "/orders?healthy=true&wait=14s"
	before, err := mbobakov.Before(target)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	fleet.Get(t, before)
	after, err := mbobakov.After(target)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	f.SurvivesKill(t, after)
}

// Every key of the resolver's README is taken.
func TestTargetsStay(t *testing.T) {
	for _, query := range []string{
		"tag=manual", "healthy=true", "healthy=false", "wait=14s", "insecure=true", "near=_agent", "limit=5",
		"timeout=60s", "max-backoff=1s", "token=secret", "dc=eu", "allow-stale=true", "require-consistent=true",
	} {
		client, err := mbobakov.After("consul://user:password@127.0.0.127:8555/my-service?" + query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		_ = client.Close()
	}
}
