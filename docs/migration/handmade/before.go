// Package handmade is the code of the guide from a stack put together by hand.
package handmade

import (
	"context"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/retry"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/timeout"
	_ "github.com/mbobakov/grpc-consul-resolver" // registers the scheme consul
	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

// Before has a timeout, retries and a breaker as interceptors, over a resolver.
func Before(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithChainUnaryInterceptor(
			broken(gobreaker.NewCircuitBreaker[any](gobreaker.Settings{Name: "orders"})),
			timeout.UnaryClientInterceptor(2*time.Second),
			retry.UnaryClientInterceptor(
				retry.WithMax(3),
				retry.WithCodes(codes.Unavailable),
				retry.WithBackoff(retry.BackoffExponentialWithJitter(25*time.Millisecond, 0.5)),
				retry.WithPerRetryTimeout(500*time.Millisecond),
			),
		),
	)
}

// broken makes calls through one breaker for the whole service.
func broken(breaker *gobreaker.CircuitBreaker[any]) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		_, err := breaker.Execute(func() (any, error) {
			return nil, invoke(ctx, method, req, reply, conn, opts...)
		})
		return err
	}
}
