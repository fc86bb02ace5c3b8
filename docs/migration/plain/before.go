// Package plain is the code of the guide from plain gRPC.
package plain

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Before is a client as gRPC's documentation shows it, with its own retries.
func Before(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, // "dns:///orders.internal:50051"
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{
			"loadBalancingConfig": [{"round_robin": {}}],
			"healthCheckConfig": {"serviceName": ""},
			"methodConfig": [{
				"name": [{"service": "orders.v1.Orders"}],
				"timeout": "2s",
				"retryPolicy": {
					"maxAttempts": 3, "initialBackoff": "0.025s", "maxBackoff": "1s",
					"backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]
				}
			}]
		}`),
	)
}
