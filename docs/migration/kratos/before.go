// Package kratos is the code of the guide from kratos.
package kratos

import (
	"context"
	"time"

	"github.com/go-kratos/kratos/v2/middleware/circuitbreaker"
	"github.com/go-kratos/kratos/v2/middleware/metadata"
	"github.com/go-kratos/kratos/v2/middleware/recovery"
	"github.com/go-kratos/kratos/v2/registry"
	kgrpc "github.com/go-kratos/kratos/v2/transport/grpc"
	"google.golang.org/grpc"
)

// Before is kratos's client with its discovery, its balancer and its breaker.
func Before(ctx context.Context, discovery registry.Discovery) (*grpc.ClientConn, error) {
	return kgrpc.DialInsecure(ctx,
		kgrpc.WithEndpoint("discovery:///orders"),
		kgrpc.WithDiscovery(discovery),
		kgrpc.WithTimeout(2*time.Second),
		kgrpc.WithMiddleware(
			recovery.Recovery(),
			metadata.Client(),
			circuitbreaker.Client(),
		),
	)
}
