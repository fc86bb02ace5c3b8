package kratos

import (
	"context"
	"net/url"

	"github.com/go-kratos/kratos/v2/middleware/recovery"
	kgrpc "github.com/go-kratos/kratos/v2/transport/grpc"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// Serve serves with kratos's server and middleware, and registers and leaves as package
// lifecycle does: in place of kratos.New(kratos.Server(…), kratos.Registrar(…)).Run().
func Serve(ctx context.Context, address string, service orders.OrdersServer, registry discovery.Registrar) error {
	l := lifecycle.New(lifecycle.Config{
		Service:    "orders",
		Listen:     address,
		Registrars: []discovery.Registrar{registry},
	})
	server := kgrpc.NewServer(
		kgrpc.CustomHealth(), // the health service is the Life's
		kgrpc.Endpoint(&url.URL{Scheme: "grpc", Host: address}), // kratos's interceptors read it
		kgrpc.Middleware(recovery.Recovery()),
		kgrpc.Options(l.ServerOptions()...),
	)
	orders.RegisterOrdersServer(server, service)
	return l.Run(ctx, server.Server)
}
