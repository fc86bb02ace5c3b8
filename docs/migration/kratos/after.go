package kratos

import (
	"context"
	"time"

	"github.com/go-kratos/kratos/v2/middleware/metadata"
	"github.com/go-kratos/kratos/v2/middleware/recovery"
	kgrpc "github.com/go-kratos/kratos/v2/transport/grpc"
	"google.golang.org/grpc"

	"github.com/surecall/surecall"
)

// After is kratos's client, with its middleware, over surecall's connection.
func After(ctx context.Context) (*grpc.ClientConn, error) {
	const target = "consul:///orders"
	options, err := surecall.DialOptions(target,
		surecall.WithInsecure(),
		surecall.WithCallDeadline(2*time.Second),
	)
	if err != nil {
		return nil, err
	}
	return kgrpc.Dial(ctx,
		kgrpc.WithEndpoint(target), // no WithDiscovery: surecall asks Consul
		kgrpc.WithTimeout(0),       // off: the call deadline is surecall's
		kgrpc.WithMiddleware( // off: circuitbreaker.Client
			recovery.Recovery(),
			metadata.Client(),
		),
		kgrpc.WithOptions(options...), // takes the place of kratos's balancer
	)
}
