package kratos_test

import (
	"context"
	"testing"

	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/kratos"
)

func TestAfterSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	conn, err := kratos.After(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f.SurvivesKill(t, conn)
}

// kratos's breaker is off: it would refuse the good calls of a method that fails often.
func TestAfterRefusesNobody(t *testing.T) {
	f := fleet.Start(t, 3)
	conn, err := kratos.After(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f.RefusesNobody(t, conn)
}

func TestServerRegistersAndLeaves(t *testing.T) {
	f := fleet.Start(t, 0)
	registry, err := consul.New(consul.Config{Address: f.Agent})
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- kratos.Serve(ctx, "127.0.0.1:0", &fleet.Instance{Address: "new"}, registry) }()
	conn, err := kratos.After(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if reply := fleet.Get(t, conn); reply.GetServedBy() != "new" {
		t.Errorf("got %v", reply)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
