package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/internal/plain"
)

// contender is one of the two clients with its load.
type contender struct {
	name    string
	load    *load
	ready   func(context.Context) error
	close   func()
	client  *surecall.Client // nil for plain gRPC
	retries *atomic.Int64
}

// newSurecall is surecall as a user has it: a target and the credentials. What else is
// given here only watches.
func newSurecall(f *fleet) (*contender, error) {
	target, source := "consul://"+f.agent+"/"+service, surecall.WithOptions()
	if f.memory != nil {
		target, source = "memory:///"+service, surecall.WithSource(f.memory)
	}
	w, retries := &wire{}, &atomic.Int64{}
	client, err := surecall.NewClient(target, source, surecall.WithInsecure(),
		surecall.WithDialOptions(grpc.WithStatsHandler(w)),
		surecall.WithEvents(func(e event.Event) {
			if r, ok := e.(event.AttemptRetried); ok && r.Method == get {
				retries.Add(1)
			}
		}))
	if err != nil {
		return nil, err
	}
	return &contender{
		name: "surecall", load: newLoad(client, w), client: client, retries: retries,
		ready: client.WaitReady, close: func() { _ = client.Close() },
	}, nil
}

// newPlain is gRPC alone, with round_robin, on the same registry.
func newPlain(f *fleet) (*contender, error) {
	w := &wire{}
	conn, err := grpc.NewClient("registry:///"+service,
		grpc.WithResolvers(plain.Resolver{Source: f.source()}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithStatsHandler(w))
	if err != nil {
		return nil, err
	}
	ready := func(ctx context.Context) error {
		conn.Connect()
		for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
			if !conn.WaitForStateChange(ctx, state) {
				return fmt.Errorf("plain gRPC is %v: %w", state, ctx.Err())
			}
		}
		return nil
	}
	return &contender{
		name: "plain round_robin", load: newLoad(conn, w), retries: &atomic.Int64{},
		ready: ready, close: func() { _ = conn.Close() },
	}, nil
}

// weight returns the weight that surecall's client goes by.
func (c *contender) weight(id string) int {
	for _, i := range c.client.Instances() {
		if i.ID == id {
			return i.Weight
		}
	}
	return 0
}
