package lifecycle

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle/internal/ledger"
	"github.com/surecall/surecall/lifecycle/once"
)

// Once makes a server, srv or what wraps it, execute the calls of a service at most once
// for each ID that callers give them:
//
//	orders.RegisterOrdersServer(l.Once(srv, once.Policy{Store: store}), &server{})
//
// Clients of surecall send an ID with the methods that have the option
// surecall.WithCallID; calls without one, and streams, are executed as they come. A
// repeat of a call that was executed gets the same reply or error; one that comes while
// it runs waits for that. Package once documents what is promised and what is not.
//
// It stands between all interceptors and the handler, wherever those are installed: a
// repeat is authenticated and logged as any call is, and what an interceptor rejects
// was not executed. Problems of p are reported by Start.
func (l *Life) Once(srv grpc.ServiceRegistrar, p once.Policy) grpc.ServiceRegistrar {
	if err := p.Validate(); err != nil {
		l.invalid = errors.Join(l.invalid, err)
		return srv
	}
	p = p.WithDefaults()
	return &onceRegistrar{srv, &onceGuard{life: l, policy: p, ledger: ledger.New(p)}}
}

type onceRegistrar struct {
	grpc.ServiceRegistrar
	guard *onceGuard
}

// RegisterService implements [grpc.ServiceRegistrar].
func (r *onceRegistrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	guarded := *desc
	guarded.Methods = slices.Clone(desc.Methods)
	for i := range guarded.Methods {
		m := &guarded.Methods[i]
		m.Handler = r.guard.wrap(m.Handler)
	}
	r.ServiceRegistrar.RegisterService(&guarded, impl)
}

// onceGuard stands before the handlers of a service.
type onceGuard struct {
	life     *Life
	policy   once.Policy
	ledger   *ledger.Ledger
	reported atomic.Int64 // when a failure of the store was last logged: Unix ns
}

// wrap returns the handler of a method with the guard behind the last interceptor.
func (g *onceGuard) wrap(method grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		if _, sent := callID(ctx); !sent {
			return method(srv, ctx, decode, interceptor)
		}
		return method(srv, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			guarded := func(ctx context.Context, req any) (any, error) {
				id, sent := callID(ctx)
				if !sent { // an interceptor took it away
					return handler(ctx, req)
				}
				return g.handle(ctx, id, req, info.FullMethod, handler)
			}
			if interceptor == nil {
				return guarded(ctx, req)
			}
			return interceptor(ctx, req, info, guarded)
		})
	}
}

// callID returns the ID that a call came with: the last one, since a proxy that copies
// metadata may have left one of its own before it.
func callID(ctx context.Context) (id string, sent bool) {
	ids := metadata.ValueFromIncomingContext(ctx, wire.CallID)
	if len(ids) == 0 {
		return "", false
	}
	return ids[len(ids)-1], true
}
