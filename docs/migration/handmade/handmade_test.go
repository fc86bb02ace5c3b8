package handmade_test

import (
	"testing"

	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/handmade"
)

func TestAfterSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	target := "consul://" + f.Agent + "/orders?healthy=true"
	before, err := handmade.Before(target)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	fleet.Get(t, before)
	after, err := handmade.After(target)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	f.SurvivesKill(t, after)
}
