package simplesurance_test

import (
	"testing"

	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/simplesurance"
)

func TestAfterSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	client, err := simplesurance.After("consul:///orders?scheme=http&health=fallbackToUnhealthy")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	f.SurvivesKill(t, client)
}

// Every key of the resolver's README is taken.
func TestTargetsStay(t *testing.T) {
	for _, target := range []string{
		"consul://10.10.0.1:1234/user-service?scheme=https&tags=primary,eu&health=fallbackToUnhealthy",
		"consul:///user-service?health=healthy&token=secret",
		"consul:///user-service?SCHEME=http&Tags=primary",
	} {
		client, err := simplesurance.After(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		_ = client.Close()
	}
}
