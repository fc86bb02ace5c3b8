package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

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
	life   *Life
	policy once.Policy
	ledger *ledger.Ledger
}

// wrap returns the handler of a method with the guard behind the last interceptor.
func (g *onceGuard) wrap(method grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		ids := metadata.ValueFromIncomingContext(ctx, wire.CallID)
		if len(ids) == 0 {
			return method(srv, ctx, decode, interceptor)
		}
		id := ids[len(ids)-1] // a proxy that copies metadata may have left one of its own before it
		return method(srv, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			guarded := func(ctx context.Context, req any) (any, error) {
				return g.handle(ctx, id, req, info.FullMethod, handler)
			}
			if interceptor == nil {
				return guarded(ctx, req)
			}
			return interceptor(ctx, req, info, guarded)
		})
	}
}

// maxCallID bounds what a store has to take as a key.
const maxCallID = 128

// handle executes a call, or answers it with what its first execution did.
func (g *onceGuard) handle(ctx context.Context, id string, req any, method string, handler grpc.UnaryHandler) (any, error) {
	if n := len(id); n == 0 || n > maxCallID {
		return nil, status.Errorf(codes.InvalidArgument, "lifecycle: %s of %d bytes: want 1 to %d", wire.CallID, n, maxCallID)
	}
	claim, kept, err := g.ledger.Claim(ctx, method+"/"+id)
	var store *ledger.StoreError
	switch {
	case err == nil && claim == nil:
		return answered(kept)
	case err == nil:
		return g.execute(ctx, claim, req, method, handler)
	case errors.Is(err, ledger.ErrUnknown):
		return nil, status.Errorf(codes.Aborted, "lifecycle: call %q: %v", id, err)
	case !errors.As(err, &store):
		return nil, status.FromContextError(err).Err()
	case store.Untouched && g.policy.ExecuteAnyway:
		return handler(ctx, req)
	default:
		return nil, NotExecuted(status.Errorf(codes.Unavailable, "lifecycle: whether call %q was executed cannot be known, so it was not: %v", id, err))
	}
}

// execute runs the handler and keeps what comes of it.
func (g *onceGuard) execute(ctx context.Context, claim *ledger.Claim, req any, method string, handler grpc.UnaryHandler) (any, error) {
	own, cancel := g.life.apartFromCaller(ctx)
	defer cancel()
	outcome := unknown("its handler panicked") // unless it returns
	release := false
	defer func() {
		end := claim.Release
		if !release {
			end = func(ctx context.Context) error { return claim.Settle(ctx, outcome) }
		}
		if err := end(ctx); err != nil {
			g.life.log.Warn("lifecycle: what a call was answered could not be kept: a repeat will be told that its outcome is unknown", "method", method, "error", err)
		}
	}()
	reply, err := handler(own, req)
	switch code := errorStatus(err).Code(); {
	case err == nil:
		outcome = keepReply(reply, g.policy.MaxReply)
	case isNotExecuted(err):
		release = true
	case own.Err() != nil && (code == codes.Canceled || code == codes.DeadlineExceeded):
		outcome = unknown(fmt.Sprintf("it was cut off: %v", context.Cause(own)))
	default:
		outcome = keepError(err, g.policy.MaxReply)
	}
	return reply, err
}

// apartFromCaller returns a context for a handler that others than this caller may wait
// for. It ends at the deadline and when the server cuts calls off, and not when the
// caller goes, who may be back by another connection already.
func (l *Life) apartFromCaller(ctx context.Context) (context.Context, context.CancelFunc) {
	apart := context.WithoutCancel(ctx)
	own, cancel := context.WithCancel(apart)
	if deadline, ok := ctx.Deadline(); ok {
		own, cancel = context.WithDeadline(apart, deadline)
	}
	// To cut a call off ends its caller's context too. Only then is it asked which of the
	// two it was: calls share no lock as long as none is left alone.
	unhook := context.AfterFunc(ctx, func() {
		forget := context.AfterFunc(l.cutting, cancel)
		context.AfterFunc(own, func() { forget() })
	})
	return own, func() {
		unhook()
		cancel()
	}
}
