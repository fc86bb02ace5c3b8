package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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

// maxCallID bounds what a store has to take as a key.
const maxCallID = 128

// handle executes a call, or answers it with what its first execution did. What a store
// says of its failures is for the log, and not for callers.
func (g *onceGuard) handle(ctx context.Context, id string, req any, method string, handler grpc.UnaryHandler) (any, error) {
	if n := len(id); n == 0 || n > maxCallID {
		return nil, status.Errorf(codes.InvalidArgument, "lifecycle: %s of %d bytes: want 1 to %d", wire.CallID, n, maxCallID)
	}
	asked, err := digest(req)
	if err != nil {
		return nil, NotExecuted(status.Errorf(codes.Internal, "lifecycle: call %q: its request cannot be marshaled: %v", id, err))
	}
	claim, kept, err := g.ledger.Claim(ctx, g.key(ctx, method, id), asked)
	var store *ledger.StoreError
	switch {
	case err == nil && claim == nil:
		markRepeated(ctx)
		return answered(kept)
	case err == nil && ctx.Err() != nil: // it went while the claim was written
		if err := claim.Release(ctx); err != nil {
			g.report("a call that was not executed could not be released: a repeat will be told that its outcome is unknown", method, err)
		}
		return nil, NotExecuted(status.FromContextError(ctx.Err()).Err())
	case err == nil:
		return g.execute(ctx, claim, req, method, handler)
	case errors.Is(err, ledger.ErrUnknown):
		markRepeated(ctx)
		return nil, status.Errorf(codes.Aborted, "lifecycle: call %q: %v", id, err)
	case errors.Is(err, ledger.ErrOther):
		return nil, status.Errorf(codes.InvalidArgument, "lifecycle: call %q: %v", id, err)
	case !errors.As(err, &store):
		return nil, status.FromContextError(err).Err()
	case store.Untouched && g.policy.ExecuteAnyway:
		g.report("the store fails: calls are executed without it", method, err)
		return handler(ctx, req)
	default:
		g.report("the store fails: calls with an ID are refused", method, err)
		return nil, NotExecuted(status.Errorf(codes.Unavailable, "lifecycle: whether call %q was executed cannot be known now, so it was not: the store of this service fails", id))
	}
}

// key is what a call's record is kept under. A scope is a digest in it, so that nothing
// of what it is made of gets long, or gets out.
func (g *onceGuard) key(ctx context.Context, method, id string) string {
	if g.policy.Scope == nil {
		return method + "/" + id
	}
	scope := sha256.Sum256([]byte(g.policy.Scope(ctx)))
	return method + "/" + hex.EncodeToString(scope[:16]) + "/" + id
}

// digest tells requests apart. One that is no proto message is like any other.
func digest(req any) (ledger.Request, error) {
	message, ok := req.(proto.Message)
	if !ok {
		return ledger.Request{}, nil
	}
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	sum := sha256.Sum256(bytes)
	return ledger.Request(sum[:16]), err
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
			end = func(ctx context.Context) error { return settle(ctx, claim, outcome) }
		}
		if err := end(ctx); err != nil {
			g.report("what a call was answered could not be kept: a repeat will be told that its outcome is unknown", method, err)
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

// settle keeps an outcome; if the store refuses that one, it keeps at least that there
// was one. A store that does not answer is not asked a second time.
func settle(ctx context.Context, claim *ledger.Claim, outcome []byte) error {
	err := claim.Settle(ctx, outcome)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if least := unanswerable("its answer could not be kept"); len(least) < len(outcome) && claim.Settle(ctx, least) == nil {
		return nil
	}
	return err
}

// report logs a failure of the store, at most one each second: all calls meet it.
func (g *onceGuard) report(what, method string, err error) {
	now, last := time.Now().UnixNano(), g.reported.Load()
	if now-last >= int64(time.Second) && g.reported.CompareAndSwap(last, now) {
		g.life.log.Warn("lifecycle: "+what, "method", method, "error", err)
	}
}

// apartFromCaller returns a context for a handler that others than this caller may wait
// for. It ends at the deadline and when the server cuts calls off, and not when the
// caller goes, who may be back by another connection already.
func (l *Life) apartFromCaller(ctx context.Context) (context.Context, context.CancelFunc) {
	var (
		own    context.Context
		cancel context.CancelFunc
	)
	if deadline, ok := ctx.Deadline(); ok {
		own, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	} else {
		own, cancel = context.WithCancel(context.WithoutCancel(ctx))
	}
	// To cut a call off ends its caller's context too. Only then is it asked which of the
	// two it was: calls share no lock as long as none is left alone.
	unhook := context.AfterFunc(ctx, func() { // on a goroutine of its own
		select {
		case <-l.cutting.Done():
			cancel()
		case <-own.Done():
		}
	})
	return own, func() {
		unhook()
		cancel()
	}
}
