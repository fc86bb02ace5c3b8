package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/discovery/memory"
)

// propagation is how long a leaving server goes on serving, for callers to learn of it.
const propagation = 200 * time.Millisecond

// fleet is the servers, and the registry that they are in.
type fleet struct {
	agent     string           // Consul's address; empty: the registry in memory
	memory    *memory.Registry // nil with Consul
	consul    *consul.Source   // nil without
	processes []*process
}

func newFleet(agent string) (f *fleet, err error) {
	f = &fleet{agent: agent}
	if agent == "" {
		f.memory = memory.New()
		return f, nil
	}
	f.consul, err = consul.New(consul.Config{Address: agent})
	return f, err
}

// source is where the plain client learns of the servers.
func (f *fleet) source() discovery.Source {
	if f.consul != nil {
		return f.consul
	}
	return f.memory
}

// start launches one more server and registers it. It returns when the server served
// and had yet to be registered.
func (f *fleet) start(ctx context.Context) (serving time.Time, err error) {
	p, err := launch(ctx, fmt.Sprintf("%s-%d", service, len(f.processes)+1), f.agent)
	if err != nil {
		return serving, err
	}
	f.processes = append(f.processes, p)
	serving = time.Now()
	reg := registration(p.id, p.address)
	if f.consul != nil {
		p.lease, err = p.Register(ctx, reg)
	} else {
		reg.Health = p.health
		p.lease, err = f.memory.Register(ctx, reg)
	}
	return serving, err
}

// weigh gives a server another weight.
func (f *fleet) weigh(ctx context.Context, p *process, weight int) error {
	i := registration(p.id, p.address).Instance
	i.Weight = weight
	return p.lease.Update(ctx, i)
}

// leave is how a server should go: out of the registry, a moment for callers to learn
// of it, and then, with the calls in flight answered, its end.
func (f *fleet) leave(ctx context.Context, p *process) error {
	if err := p.lease.Release(ctx); err != nil {
		return err
	}
	time.Sleep(propagation)
	if err := p.ask(ctx, "drain"); err != nil {
		return err
	}
	return p.in.Close()
}

// killAll ends every server at once.
func (f *fleet) killAll() {
	for _, p := range f.processes {
		_ = p.kill() // it may have ended
	}
}

// close ends the servers and takes what they left out of the registry.
func (f *fleet) close() {
	f.killAll()
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	for _, p := range f.processes {
		f.forget(ctx, p)
	}
	if f.consul != nil {
		_ = f.consul.Close()
	}
}

// forget takes a killed server out of the registry: nobody else would before its time
// to live is over.
func (f *fleet) forget(ctx context.Context, p *process) {
	if f.consul == nil {
		if p.lease != nil {
			_ = p.lease.Release(ctx)
		}
		return
	}
	if lease, err := f.consul.Register(ctx, registration(p.id, p.address)); err == nil {
		_ = lease.Release(ctx)
	}
}

// number is an instance's place in the fleet, from 1; 0: none of it.
func number(id string) int {
	_, n, _ := strings.Cut(id, service+"-")
	place, _ := strconv.Atoi(n)
	return place
}
