package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/e2e/internal/counter"
	"github.com/surecall/surecall/examples/orders"
)

// controlID is the ID that the plain-gRPC control asks for; its calls are not counted.
const controlID = "control"

type handler struct {
	orders.UnimplementedOrdersServer
	id      string
	delay   time.Duration
	fail    string
	counter *counter.Counter
}

func (h *handler) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	counted := r.GetId() != controlID
	n := int64(0)
	if counted {
		n = h.counter.Received.Add(1)
	}
	wait := time.NewTimer(h.delay)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if h.fail == "always" || h.fail == "half" && n%2 == 0 {
		return nil, status.Error(codes.Unavailable, "told to fail")
	}
	if counted {
		h.counter.Answered.Add(1)
	}
	return &orders.Order{Id: r.GetId(), ServedBy: h.id}, nil
}

// denyHealth and its twin stand for the authentication that many servers put in front of
// everything, health checks included.
func denyHealth(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if isHealth(info.FullMethod) {
		return nil, errNoToken
	}
	return next(ctx, req)
}

func denyHealthStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if isHealth(info.FullMethod) {
		return errNoToken
	}
	return next(srv, stream)
}

var errNoToken = status.Error(codes.Unauthenticated, "no token")

func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }
