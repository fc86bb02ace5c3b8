package gozero_test

import (
	"testing"

	"github.com/zeromicro/go-zero/zrpc/resolver"

	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/gozero"
)

func TestAfterSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	client, err := gozero.After()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	f.SurvivesKill(t, client.Conn()) // as generated code calls
}

func TestDialSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	client, err := gozero.Dial("consul:///orders")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Conn().Close()
	f.SurvivesKill(t, client.Conn())
}

// go-zero's breaker is off: it would refuse the good calls of a method that fails often.
func TestDialRefusesNobody(t *testing.T) {
	f := fleet.Start(t, 3)
	client, err := gozero.Dial("consul:///orders")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Conn().Close()
	f.RefusesNobody(t, client.Conn())
}

// go-zero's own resolvers are found by gRPC, and go on finding the instances.
func TestTargetOfGoZeroSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	var addresses []string
	for _, i := range f.Instances {
		addresses = append(addresses, i.Address)
	}
	client, err := gozero.Dial(resolver.BuildDirectTarget(addresses))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Conn().Close()
	f.SurvivesKill(t, client.Conn())
}
