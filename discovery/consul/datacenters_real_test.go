package consul

import (
	"context"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/consultest"
)

// The other datacenter is read through the agent at hand: its changes, its being empty,
// which its own leader confirms, and its prepared queries' failover. Its loss is not a loss
// of its instances, and not one of ours.
func TestRealDatacenters(t *testing.T) {
	two := consultest.StartClusters(t,
		consultest.ClusterOptions{Datacenter: "eu", Servers: 1, Net: 31},
		consultest.ClusterOptions{Datacenter: "us", Servers: 1, Net: 32})
	eu, us := realSource(t, two[0].Clients[0], Config{Refresh: MinRefresh}), realSource(t, two[1].Clients[0], Config{})
	leases := map[string]discovery.Lease{}
	put := func(s *Source, id, address string) {
		t.Helper()
		l, err := s.Register(t.Context(), discovery.Registration{Instance: discovery.Instance{ID: id, Service: "orders", Address: address}})
		if err != nil {
			t.Fatal(err)
		}
		leases[id] = l
	}
	take := func(id string) {
		t.Helper()
		if err := leases[id].Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	client, err := two[0].Clients[0].Client()
	if err != nil {
		t.Fatal(err)
	}
	definition := &api.PreparedQueryDefinition{Name: "orders-anywhere", Service: api.ServiceQuery{
		Service: "orders", Failover: api.QueryFailoverOptions{Datacenters: []string{"us"}},
	}}
	if _, _, err := client.PreparedQuery().Create(definition, nil); err != nil {
		t.Fatal(err)
	}

	here := follow(t, eu, discovery.Query{Service: "orders", Datacenter: "eu"})
	there := follow(t, eu, discovery.Query{Service: "orders", Datacenter: "us"})
	anywhere := follow(t, eu, discovery.Query{Service: "orders", Prepared: "orders-anywhere"})
	here.until("nothing, believed", has(""), nil)
	there.until("nothing, confirmed by the leader there", has(""), nil)
	put(eu, "e1", "10.0.0.1:1")
	put(us, "u1", "10.1.0.1:1")
	here.until("ours", has("e1 "), nil)
	there.until("theirs", has("u1 "), nil)
	if s := anywhere.until("ours", has("e1 "), nil); len(s.Problems) != 0 {
		t.Errorf("problems %v", s.Problems)
	}

	take("e1")
	here.until("ours gone", has(""), nil)
	s := anywhere.until("theirs", has("u1 "), nil)
	if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].What, `those of datacenter "us" are used`) {
		t.Errorf("problems %v", s.Problems)
	}
	take("u1")
	there.until("theirs gone", has(""), nil)
	anywhere.until("a doubt", func(s discovery.Snapshot) bool {
		return s.Doubt != nil && ids(s) == "u1 " && strings.Contains(s.Doubt.Error(), "finds none any more")
	}, nil)
	put(us, "u2", "10.1.0.2:1")
	there.until("theirs again", has("u2 "), nil)
	anywhere.until("theirs again", has("u2 "), nil)

	// The other datacenter is lost: what was seen there stays, new questions are errors.
	keeps := func(s discovery.Snapshot) bool { return s.Err != nil || ids(s) == "u2 " }
	two[1].Stop()
	put(eu, "e2", "10.0.0.2:1")
	here.until("ours", has("e2 "), func(s discovery.Snapshot) bool { return s.Err == nil && s.Doubt == nil })
	lost := follow(t, eu, discovery.Query{Service: "orders", Datacenter: "us", Tags: []string{"new"}})
	lost.until("an error or a doubt", func(s discovery.Snapshot) bool { return s.Err != nil || s.Doubt != nil }, func(s discovery.Snapshot) bool {
		return len(s.Instances) == 0 && (s.Err != nil || s.Doubt != nil)
	})
	if err := two[1].Revive(); err != nil {
		t.Fatal(err)
	}
	put(us, "u3", "10.1.0.3:1")
	there.until("theirs after its return", func(s discovery.Snapshot) bool { return strings.Contains(ids(s), "u3") && s.Err == nil },
		func(s discovery.Snapshot) bool { return keeps(s) || strings.Contains(ids(s), "u3") })
}

func TestRealPreparedQuery(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{Refresh: MinRefresh})
	q := discovery.Query{Service: "orders", Prepared: "half good", Accept: discovery.AcceptAny}
	v := follow(t, s, q)
	unknown := v.until("an error", func(s discovery.Snapshot) bool { return s.Err != nil }, nil)
	if !permanent(unknown.Err) || !strings.Contains(unknown.Err.Error(), `there is no prepared query "half good"`) {
		t.Errorf("unknown: %v", unknown.Err)
	}
	if got := s.Explain(t.Context(), q); got != `Consul has no prepared query "half good"` {
		t.Error(got)
	}
	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	definition := &api.PreparedQueryDefinition{Name: "half good", Service: api.ServiceQuery{Service: "orders", OnlyPassing: false}}
	id, _, err := client.PreparedQuery().Create(definition, nil)
	if err != nil {
		t.Fatal(err)
	}
	for health, name := range map[discovery.Health]string{discovery.Passing: "p", discovery.Warning: "w", discovery.Critical: "c"} {
		r := discovery.Registration{Instance: discovery.Instance{ID: name, Service: "orders", Address: "10.0.0.1:1", Weight: 10}, WarningWeight: 3}
		r.Health = func(context.Context) (discovery.Health, string) { return health, "as it is" }
		if _, err := s.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	got := v.until("all but the critical one", has("p w "), nil)
	if got.Instances[1].Weight != 3 || got.Instances[1].Health != discovery.Warning || got.Instances[0].Incarnation == "" {
		t.Errorf("%+v", got.Instances)
	}
	follow(t, s, discovery.Query{Service: "orders", Prepared: id}).until("the same by its ID", has("p w "), nil)
	follow(t, s, discovery.Query{Service: "orders", Prepared: id, Accept: discovery.AcceptPassing}).until("passing", has("p "), nil)
}
