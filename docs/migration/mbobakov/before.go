// Package mbobakov is the code of the guide from github.com/mbobakov/grpc-consul-resolver.
package mbobakov

import (
	_ "github.com/mbobakov/grpc-consul-resolver" // registers the scheme consul
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Before resolves in Consul, by the resolver that the import registers for all of gRPC.
func Before(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, // "consul://127.0.0.1:8500/orders?healthy=true&wait=14s"
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	)
}
