package consultest_test

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/internal/consultest"
)

// A cluster is what the tests built on it believe it to be: its client agent goes on
// when the leader dies, and all servers come back.
func TestCluster(t *testing.T) {
	c := consultest.StartClusters(t, consultest.ClusterOptions{Net: 11})[0]
	if len(c.Servers) != 3 || len(c.Clients) != 1 {
		t.Fatalf("%d servers and %d clients: want 3 and 1", len(c.Servers), len(c.Clients))
	}
	first, err := c.Leader()
	if err != nil {
		t.Fatal(err)
	}
	first.Kill()
	if first.Running() {
		t.Error("the killed leader runs")
	}
	write(t, c.Clients[0], "after the leader's death")
	second, err := c.Leader()
	if err != nil || second == first {
		t.Errorf("the leader after the first one's death: %v, %v: want another", second, err)
	}
	for _, s := range c.Servers {
		s.Kill()
	}
	if err := c.Revive(); err != nil {
		t.Fatal(err)
	}
	write(t, c.Clients[0], "after the death of all")
}

func TestClustersAreJoined(t *testing.T) {
	two := consultest.StartClusters(t,
		consultest.ClusterOptions{Datacenter: "eu", Servers: 1, Net: 12},
		consultest.ClusterOptions{Datacenter: "us", Servers: 1, Net: 13})
	client, err := two[0].Clients[0].Client()
	if err != nil {
		t.Fatal(err)
	}
	names, err := client.Catalog().Datacenters()
	if err != nil || len(names) != 2 {
		t.Errorf("the datacenters that an agent in eu knows: %v, %v: want eu and us", names, err)
	}
}

// write needs a leader, and waits for one.
func write(t *testing.T, a *consultest.Agent, when string) {
	t.Helper()
	client, err := a.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := client.KV().Put(&api.KVPair{Key: "k"}, (&api.WriteOptions{}).WithContext(ctx))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("nothing can be written %s: %v", when, err)
		}
	}
}

func TestToken(t *testing.T) {
	agent := consultest.StartWith(t, consultest.ACLs())
	token, err := agent.NewToken("reader", `node_prefix "" { policy = "read" }`)
	if err != nil {
		t.Fatal(err)
	}
	client, err := api.NewClient(&api.Config{Address: agent.Addr, Token: token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	sees := func() int {
		nodes, _, err := client.Catalog().Nodes(nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(nodes)
	}
	if sees() != 1 {
		t.Error("a token with the policy to read nodes reads none")
	}
	if err := token.Deprive(); err != nil {
		t.Fatal(err)
	}
	if sees() != 0 {
		t.Error("a token that lost its policy reads nodes")
	}
	if err := token.Restore(); err != nil {
		t.Fatal(err)
	}
	if sees() != 1 {
		t.Error("a token that got its policy back reads no nodes")
	}
}
