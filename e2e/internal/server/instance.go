package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// instance is one server, whose life is in the hands of package lifecycle.
type instance struct {
	life      *lifecycle.Life
	server    *grpc.Server
	handler   *handler
	registrar *registrar
	source    *consul.Source
}

// newInstance makes an instance that counts in the file counters. When its port is open
// and it has warmed up, it calls serving; nobody knows of it yet.
func newInstance(c config, id, counters string, serving func(*instance)) (*instance, error) {
	counted, err := counter.Open(counters)
	if err != nil {
		return nil, err
	}
	told := func(e event.Event) { fmt.Fprintf(os.Stderr, "%s %T%+v\n", time.Now().Format("05.000"), e, e) }
	source, err := consul.New(consul.Config{Address: c.agent, Token: c.token, Events: told})
	if err != nil {
		return nil, err
	}
	i := &instance{
		handler:   &handler{id: id, behaviour: c.behaviour, counter: counted, born: time.Now()},
		registrar: &registrar{Registrar: source, made: make(chan struct{})},
		source:    source,
	}
	logger := slog.New(killer{slog.NewTextHandler(os.Stderr, nil), c.killAt, c.killAfter})
	i.life = lifecycle.New(lifecycle.Config{
		Service: c.service, ID: id, Listen: c.address, Weight: c.weight, TTL: c.ttl,
		Registrars: []discovery.Registrar{i.registrar},
		Steps:      c.steps(i, serving),
		Hooks:      []lifecycle.Hook{{Name: "consul", Run: func(context.Context) error { return source.Close() }}},
		Drain:      c.drain,
		Admin:      lifecycle.Admin{Address: c.control},
		Logger:     logger.With("instance", id),
	})
	options := i.life.ServerOptions()
	if c.healthAuth {
		options = append(options, grpc.ChainUnaryInterceptor(denyHealth), grpc.ChainStreamInterceptor(denyHealthStream))
	}
	i.server = grpc.NewServer(options...)
	orders.RegisterOrdersServer(i.server, i.handler)
	return i, nil
}

// steps warm the instance up, if it shall, and then say that it serves.
func (c config) steps(i *instance, serving func(*instance)) []lifecycle.Step {
	var steps []lifecycle.Step
	if c.warmUp {
		steps = append(steps, lifecycle.Step{Name: "calls", Run: warmUp})
	}
	return append(steps, lifecycle.Step{Name: "say so", Run: func(context.Context, *grpc.ClientConn) error {
		serving(i)
		return nil
	}})
}

// warmUp calls the instance itself until it answers fast.
func warmUp(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		began := time.Now()
		if _, err := orders.NewOrdersClient(conn).Get(ctx, &orders.GetRequest{Id: controlID}); err != nil {
			return err
		}
		if time.Since(began) < chill/2 {
			return nil
		}
	}
}
