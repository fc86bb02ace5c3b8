package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle/internal/ledger"
)

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
