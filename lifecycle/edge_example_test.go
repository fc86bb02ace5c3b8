package lifecycle_test

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/limit"
)

// A server that strangers call believes nothing that they say of their calls: no priority,
// no ID, no attempt. Give the interceptor as grpc.ChainUnaryInterceptor, before others.
func Example_atTheEdge() {
	ours := func(key string, _ []string) bool { // but for what the server tells itself
		return strings.HasPrefix(key, "surecall-") && key != "surecall-replay"
	}
	edge := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		in, _ := metadata.FromIncomingContext(ctx) // a copy, as is the other
		maps.DeleteFunc(in, ours)
		out, _ := metadata.FromOutgoingContext(ctx) // what the life has passed on
		maps.DeleteFunc(out, ours)
		ctx = metadata.NewOutgoingContext(metadata.NewIncomingContext(ctx, in), out)
		return handler(limit.NewContext(ctx, limit.Normal), req)
	}

	// A stranger's call, as it comes out of the life's own interceptor.
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(
		"authorization", "bearer x", "surecall-priority", "critical", "surecall-call-id", "1", "surecall-attempt", "2"))
	ctx = metadata.AppendToOutgoingContext(limit.NewContext(ctx, limit.Critical), "surecall-priority", "critical", "surecall-attempt", "2")
	_, err := edge(ctx, nil, nil, func(ctx context.Context, _ any) (any, error) {
		in, _ := metadata.FromIncomingContext(ctx)
		out, _ := metadata.FromOutgoingContext(ctx)
		fmt.Println(limit.FromContext(ctx), len(in), in["authorization"], len(out))
		return nil, nil
	})
	fmt.Println(err)
	// Output:
	// normal 1 [bearer x] 0
	// <nil>
}
