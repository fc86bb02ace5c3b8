// Package plain is what a program without surecall has to write to find its servers in a
// registry with gRPC alone.
package plain

import (
	"context"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
)

// Resolver gives plain gRPC what a source knows: the addresses, as they change. Its scheme
// is "registry".
type Resolver struct{ Source discovery.Source }

// Scheme implements [resolver.Builder].
func (Resolver) Scheme() string { return "registry" }

// Build implements [resolver.Builder].
func (r Resolver) Build(t resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		err := r.Source.Watch(ctx, discovery.Query{Service: t.Endpoint()}, func(s discovery.Snapshot) {
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

// watch is one channel's watch of the registry.
type watch struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// ResolveNow implements [resolver.Resolver]. The source tells without being asked.
func (*watch) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver].
func (w *watch) Close() {
	w.cancel()
	<-w.done
}
