package plain_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/docs/internal/fleet"
	"github.com/surecall/surecall/docs/migration/plain"
	"github.com/surecall/surecall/examples/orders"
)

func TestAfterSurvivesAKill(t *testing.T) {
	f := fleet.Start(t, 3)
	client, err := plain.After()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	f.SurvivesKill(t, client)
}

// On trial the call is lost, and the report tells that it need not have been.
func TestOnTrialLosesACallAndSaysSo(t *testing.T) {
	f := fleet.Start(t, 3)
	client, err := plain.OnTrial()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	o := f.KillOne(t, client)
	var saved uint64
	for _, m := range client.Shadow().Methods {
		if m.Method == orders.Orders_Get_FullMethodName {
			saved = m.Saved
		}
	}
	if o.Failed == 0 || saved == 0 {
		t.Errorf("%d calls failed, of which %d would have been saved: want one at least\n%v", o.Failed, saved, client.Shadow())
	}
}

func TestDialIsRolledBackByTheEnvironment(t *testing.T) {
	f := fleet.Start(t, 1)
	old := "dns:///" + f.Instances[0].Address
	for value, want := range map[string]bool{"": false, "grpc": true} {
		t.Setenv("ORDERS_CLIENT", value)
		conn, err := plain.Dial(old)
		if err != nil {
			t.Fatal(err)
		}
		if _, isPlain := conn.(*grpc.ClientConn); isPlain != want {
			t.Errorf("ORDERS_CLIENT=%q: got a %T", value, conn)
		}
		fleet.Get(t, conn)
		_ = conn.Close()
	}
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
	go func() { served <- plain.ServeAfter(ctx, "127.0.0.1:0", &fleet.Instance{Address: "new"}, registry) }()
	client, err := plain.After()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if reply := fleet.Get(t, client); reply.GetServedBy() != "new" {
		t.Errorf("got %v", reply)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
