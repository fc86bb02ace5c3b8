package mbobakov_test

import (
	"testing"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/mbobakov"
	"github.com/surecall/surecall/examples/orders"
)

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
	if _, err := orders.NewOrdersClient(before).Get(t.Context(), &orders.GetRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("the old client: %v", err)
	}
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
