package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
)

// fleet is the servers by their places, and the registry that they are in.
type fleet struct {
	config   config
	servers  []*process
	started  []*process     // all there ever were
	embedded *registry      // nil with Consul
	consul   *consul.Source // nil without
}

func newFleet(c config) (f *fleet, err error) {
	f = &fleet{config: c}
	if c.consul == "" {
		f.embedded, err = newRegistry()
	} else {
		f.consul, err = consul.New(consul.Config{Address: c.consul})
	}
	return f, err
}

// source is where clients learn of the servers.
func (f *fleet) source() discovery.Source {
	if f.consul != nil {
		return f.consul
	}
	return f.embedded
}

func (f *fleet) startAll(ctx context.Context) error {
	for range f.config.servers {
		p, err := f.start(ctx, f.newID(), "127.0.0.1:0")
		if err != nil {
			return err
		}
		f.servers = append(f.servers, p)
	}
	return nil
}

// newID returns the next ID that no server has had.
func (f *fleet) newID() string {
	ids := map[string]bool{}
	for _, p := range f.started {
		ids[p.id] = true
	}
	return fmt.Sprintf("%s-%d", service, len(ids)+1)
}

// start returns when the server is registered.
func (f *fleet) start(ctx context.Context, id, listen string) (*process, error) {
	flags := []string{"-serve", id, "-listen", listen, "-propagation", f.config.propagation.String()}
	if f.embedded != nil {
		flags = append(flags, "-registry", f.embedded.url)
	} else {
		flags = append(flags, "-consul", f.config.consul)
	}
	p, err := launch(ctx, id, flags)
	if err != nil {
		return nil, err
	}
	f.started = append(f.started, p)
	return p, nil
}

// close ends all servers. In Consul they leave nothing behind: they drain.
func (f *fleet) close() error {
	var ending sync.WaitGroup
	errs := make([]error, len(f.started))
	for n, p := range f.started {
		ending.Go(func() {
			if f.consul != nil {
				_, errs[n] = p.leave(context.Background())
			}
			p.kill()
		})
	}
	ending.Wait()
	if f.consul != nil {
		errs = append(errs, f.consul.Close())
	} else {
		errs = append(errs, f.embedded.close())
	}
	return errors.Join(errs...)
}
