package e2e

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/resolver"
)

// newPlain makes a client of plain gRPC that finds the instances in Consul, as one would
// by hand: a resolver, round_robin, and what config adds to it.
func (c *cluster) newPlain(t *testing.T, config string) *caller {
	t.Helper()
	source, err := consul.New(consul.Config{Address: c.agent.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	conn, err := grpc.NewClient("consul:///"+service,
		grpc.WithResolvers(resolver.NewBuilder(resolver.Config{
			Scheme: "consul", Authority: service, Query: discovery.Query{Service: service},
			Open: func() (discovery.Source, func(), error) { return source, func() {}, nil },
		})),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Logf("client: grpc.NewClient with package resolver on Consul and %s", config)
	one := &caller{conn: conn, cluster: c, number: len(c.callers)}
	c.callers = append(c.callers, one)
	conn.Connect()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for s := conn.GetState(); s.String() != "READY"; s = conn.GetState() {
		if !conn.WaitForStateChange(ctx, s) {
			t.Fatalf("plain gRPC is not ready: %v", s)
		}
	}
	return one
}
