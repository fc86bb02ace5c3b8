package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/internal/plain"
)

// clients are all callers, and what came of their calls: the surecall clients' together,
// and the plain one's apart.
type clients struct {
	sure, plain *score
	loads       []*load
	closers     []func()
}

// newClients returns when each has a connection.
func newClients(ctx context.Context, f *fleet) (c *clients, err error) {
	c = &clients{sure: &score{}, plain: &score{}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	for range sureClients {
		client, err := newSurecall(f)
		if err != nil {
			return nil, err
		}
		c.closers = append(c.closers, func() { _ = client.Close() })
		c.loads = append(c.loads, newLoad(client, c.sure, true))
		if err := client.WaitReady(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := newPlain(f)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, func() { _ = conn.Close() })
	c.loads = append(c.loads, newLoad(conn, c.plain, false))
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return nil, fmt.Errorf("plain gRPC is %v: %w", state, ctx.Err())
		}
	}
	return c, nil
}

// newSurecall is surecall as a user has it: a target and the credentials.
func newSurecall(f *fleet) (*surecall.Client, error) {
	if f.consul != nil {
		return surecall.NewClient("consul://"+f.config.consul+"/"+service, surecall.WithInsecure())
	}
	return surecall.NewClient("memory:///"+service, surecall.WithSource(f.embedded), surecall.WithInsecure())
}

// newPlain is gRPC alone, with round_robin, on the same registry.
func newPlain(f *fleet) (*grpc.ClientConn, error) {
	return grpc.NewClient("registry:///"+service,
		grpc.WithResolvers(plain.Resolver{Source: f.source()}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
}

// begin has each client make perSecond calls a second until ctx ends.
func (c *clients) begin(ctx context.Context, start time.Time, perSecond int) {
	for _, l := range c.loads {
		l.begin(ctx, start, perSecond)
	}
}

// wait returns when no call is in flight any more.
func (c *clients) wait() {
	for _, l := range c.loads {
		l.running.Wait()
	}
}

func (c *clients) close() {
	for _, f := range c.closers {
		f()
	}
}
