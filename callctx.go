package surecall

import (
	"cmp"
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/limit"
)

// WithPriority returns a context whose calls have priority p: what is sheddable goes
// first under every limit, what is critical goes last. It is sent along: calls that a
// handler of a lifecycle server makes inherit it with its context.
func WithPriority(ctx context.Context, p limit.Priority) context.Context {
	p = max(limit.Sheddable, min(p, limit.Critical)) // what others count as: only these have a name
	return metadata.AppendToOutgoingContext(limit.NewContext(ctx, p), wire.Priority, p.String())
}

// Pin returns a context whose calls go to one instance and to no other, eligible or
// not. While it has no connection, and for an empty ID, they are rejected with
// [ErrNoInstance]. Retries go to the same instance. See [Client.Instances] for IDs.
func Pin(ctx context.Context, instanceID string) context.Context {
	return context.WithValue(ctx, routeKey{}, &balancer.Route{Instance: cmp.Or(instanceID, "(no ID)")})
}

// Sticky returns a context whose calls go to the instance that key stands for, for as
// long as it is eligible; the set of instances may change without moving other keys.
// Retries go elsewhere, and hedges are not sent. A pin is the stronger of both.
func Sticky(ctx context.Context, key string) context.Context {
	r := balancer.Route{Key: key}
	if before := routeOf(ctx); before != nil {
		r.Instance = before.Instance
	}
	return context.WithValue(ctx, routeKey{}, &r)
}

type routeKey struct{}

// routeOf returns where the caller wants the call to go; nil: anywhere.
func routeOf(ctx context.Context) *balancer.Route {
	r, _ := ctx.Value(routeKey{}).(*balancer.Route)
	return r
}

// pinned reports whether only one instance may serve the call.
func pinned(r *balancer.Route) bool { return r != nil && r.Instance != "" }
