package handmade_test

import (
	"testing"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/handmade"
	"github.com/surecall/surecall/examples/orders"
)

func TestAfterSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	target := "consul://" + f.Agent + "/orders?healthy=true"
	before, err := handmade.Before(target)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if _, err := orders.NewOrdersClient(before).Get(t.Context(), &orders.GetRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("the old stack: %v", err)
	}
	after, err := handmade.After(target)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	f.SurvivesKill(t, after)
}
