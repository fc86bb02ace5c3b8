package main

import (
	"context"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
)

// registryResolver gives plain gRPC what a source knows: the addresses, as they change.
type registryResolver struct{ source discovery.Source }

// Scheme implements [resolver.Builder].
func (registryResolver) Scheme() string { return "registry" }

// Build implements [resolver.Builder].
func (r registryResolver) Build(t resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &registryWatch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		err := r.source.Watch(ctx, discovery.Query{Service: t.Endpoint()}, func(s discovery.Snapshot) {
			if s.Err != nil {
				cc.ReportError(s.Err)
				return
			}
			var state resolver.State
			for _, i := range s.Instances {
				state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: i.Address}}})
			}
			_ = cc.UpdateState(state) // the source reports again when there is something new
		})
		if ctx.Err() == nil {
			cc.ReportError(err)
		}
	}()
	return w, nil
}

// registryWatch is one channel's watch of the registry.
type registryWatch struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// ResolveNow implements [resolver.Resolver]. The source tells without being asked.
func (*registryWatch) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver].
func (w *registryWatch) Close() {
	w.cancel()
	<-w.done
}
